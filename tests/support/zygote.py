"""A command as a process, without the time that its imports take: a warm process forks the command.

python zygote.py PACKAGE    imports the package's command line, and then, for each JSON line on stdin:
                            {"argv", "folder", ...} forks the command, or runs the code after `-c`, and answers its id
                            {"wait": id} answers the command's exit status, negative for a signal

The warm process must never compute: a process that is forked after OpenMP has run hangs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PROGRAMS = {"encoder": "sae-encode", "saefetch": "saefetch"}
WARM = {
    "encoder": (
        "encoder.cli.queue",
        "encoder.cli.run",
        "encoder.cli.stats",
        "encoder.cli.work",
        "encoder.kernels.cpu.kernel",
        "encoder.kernels.fallback",
        "encoder.kernels.reference",
        "encoder.sae.load",
    )
}
"""What the commands of a package import; all modules of a package that is not named here."""


@dataclass
class Running:
    """A command that runs; its stdout and stderr are files."""

    pid: int
    folder: Path
    zygote: Zygote

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text("utf-8")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text("utf-8")

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return int(self.zygote.ask(wait=self.pid))


class Zygote:
    """The warm process. Its environment, `variables` in it, is that of all commands which are not given their own."""

    def __init__(self, package: str, folder: Path, **variables: str) -> None:
        self._package, self._folder = package, folder
        one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # where `sae-encode` is found
        self._environment = {**os.environ, **path, **one_thread, **variables}

    def __enter__(self) -> Self:
        command = [sys.executable, __file__, self._package]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=120)
        self._process.stdout.close()

    def ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self, *argv: object, cwd: Path | None = None, environment: dict[str, str] | None = None, offline: bool = False
    ) -> Running:
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        place = {"folder": str(folder), "cwd": str(cwd or Path.cwd()), "environment": environment}
        return Running(self.ask(argv=[*map(str, argv)], **place, offline=offline), folder, self)

    def run(self, *argv: object, **options: Any) -> tuple[int, Running]:
        """Run the command to its end; return its exit status and what it said."""
        running = self.start(*argv, **options)
        return running.wait(), running


def wait_for(condition: Any, limit_s: float = 120.0) -> Any:
    """Wait for something that another process brings about, and return it."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
    return found


def _in_the_fork(
    package: str, argv: list[str], folder: str, cwd: str, environment: dict[str, str] | None, offline: bool
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.chdir(cwd)
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    if hub := sys.modules.get("huggingface_hub.constants"):
        hub.HF_HUB_OFFLINE = offline  # type: ignore[attr-defined] # as the variable sets it; an outage takes 24 s
    sys.argv = [PROGRAMS[package], *argv]
    if argv[0] == "-c":
        exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        importlib.import_module(f"{package}.cli").main()


def _serve(package: str) -> None:
    gc.disable()  # a fifth of the time that the imports take
    path = importlib.import_module(package).__path__
    everything = [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    for name in WARM.get(package, everything):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    gc.freeze()
    gc.enable()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        status: Any = 99
        try:
            _in_the_fork(package, **order)
            status = 0
        except SystemExit as exc:
            status = exc.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
