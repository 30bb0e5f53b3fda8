"""The outermost layer of a command: every way in which a command ends. Stdout is for results, stderr for all else.

    2        a flag, a value, a name or an extra that is missing        130, 143   SIGINT, SIGTERM
    1, 3, 4  what the error's class says (saefetch.errors)               1          a bug, with its traceback

The work of a command may take signals over with handlers of its own; until then a signal ends the process at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from saefetch.errors import SaefetchError, UsageError
from saefetch.extras import missing_extra
from saefetch.terminal.output import complain, same_command

if TYPE_CHECKING:
    import typer


@dataclass(frozen=True, slots=True)
class Program:
    """The command `name`, also started as `python -m package`. The Typer app is in the package's `cli.app`.

    `prepare` gets the name of the subcommand before the flags are parsed; its result is the `obj` of the context. (To
    parse flags, typer imports pydantic, which takes a while.) `extra` brings the libraries that the work needs.
    A process with `child_flag` among its words was started by another one, which says how to go on after a signal.
    """

    name: str
    package: str
    prepare: Callable[[str], object] = lambda command: None
    extra: str = ""
    child_flag: str = ""

    def main(self) -> NoReturn:
        """Run the command line. Each error is one line on stderr and an exit status; with --json also an object."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._leave)
        # pydantic would search all installed packages for plugins: tens of milliseconds in a large environment.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # its descriptor is closed
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
            elif hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = self._run()
            sys.stdout.flush()
        except BrokenPipeError:  # `saefetch list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = 1
        sys.exit(status)

    def _run(self) -> int:
        try:
            app = import_module(f"{self.package}.cli.app").app  # takes a while, in which a signal may come
            return run_app(app, self.name, self.prepare)
        except SaefetchError as exc:
            return self._fail(str(exc), exc.exit_status)
        except BrokenPipeError:
            raise
        except OSError as exc:
            return self._fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc), 1)
        except Exception as exc:
            missing = missing_extra(exc, self.extra, self.name) if isinstance(exc, ModuleNotFoundError) else None
            if missing is not None:
                return self._fail(str(missing), missing.exit_status)
            import traceback

            traceback.print_exc()
            return self._fail(f"this is a bug of {self.name} ({type(exc).__name__}); please report the lines above", 1)

    def _fail(self, message: str, status: int) -> int:
        complain(message, self.name)
        if "--json" in sys.argv[1:]:
            # Not by orjson: a signal may come while that is being imported, and importing it again crashes.
            print(json.dumps({"error": message, "exit_status": status}, indent=2), flush=True)
        return status

    def _leave(self, number: int, frame: FrameType | None) -> NoReturn:
        """Leave at once. Nothing has begun that could be lost: work that can be interrupted has handlers of its own.

        An exception would not do. Where the import system calls back, Python prints an exception and goes on.
        """
        if self.child_flag and self.child_flag in sys.argv[1:]:
            os._exit(128 + number)
        with suppress(RuntimeError, OSError):  # in the middle of a print, or to a terminal that is gone
            again = same_command(self.name, self.package)
            self._fail(f"interrupted; nothing was lost. To run it again: {again}", 128 + number)
        os._exit(128 + number)


def new_app(name: str) -> typer.Typer:
    """Return the Typer app of a command, without subcommands. Help looks the same in all three commands."""
    import typer

    return typer.Typer(
        name=name,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def run_app(app: typer.Typer, program: str, prepare: Callable[[str], object]) -> int:
    """Run the command in `sys.argv`; return its exit status.

    Raises: UsageError for an unknown flag and for a value that cannot be parsed; and what the command itself raises.
    """
    import typer

    words = sys.argv[1:]
    names = _named(app, words)
    if names and {"-h", "--help"} & set(words[: words.index("--")] if "--" in words else words):
        print(_help(app, program, names))
        return 0
    try:
        return int(app(prog_name=program, standalone_mode=False, obj=prepare(names[0]) if names else None) or 0)
    except typer.TyperException as exc:
        see = " ".join([program, *names, "--help"])
        refusal = exc.format_message().rstrip(".")
        raise UsageError(f"{refusal} See `{see}`" if refusal.endswith("?") else f"{refusal}; see `{see}`") from exc


def _named(app: typer.Typer, words: list[str]) -> list[str]:
    """Return the words that name a command: its own, or a group's and that of the command in it."""
    for info in app.registered_groups:
        if words[:1] == [info.name] and info.typer_instance is not None:
            return [*words[:1], *_named(info.typer_instance, words[1:])]
    commands = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    return words[:1] if words and words[0] in commands else []


def _help(app: typer.Typer, program: str, names: list[str]) -> str:
    """Return a command's help. The flags are not parsed: for that, typer would import pydantic, which takes 0.1 s."""
    from typer.main import get_command

    group: Any = get_command(app)
    if not hasattr(group, "commands"):  # the app's only command is the app itself
        return str(group.get_help(group.context_class(group, info_name=program, **group.context_settings)))
    settings = group.context_settings
    context = group.context_class(group, info_name=program, **settings)
    for name in names:
        group = group.commands[name]
        context = group.context_class(group, info_name=name, parent=context, **settings)
    help_: str = group.get_help(context)
    return help_
