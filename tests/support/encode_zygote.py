"""`sae-encode` as a process, without the seconds that torch and SAELens take to load: a warm process forks it.

python encode_zygote.py     for each JSON line on stdin: {"argv", "folder"} forks the command and answers its id,
                            {"wait": id} answers its exit status, negative for a signal

The parent must never compute: a process forked after OpenMP has run hangs.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass
class Running:
    """A command that runs; its stdout and stderr are files."""

    pid: int
    folder: Path
    zygote: Zygote

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return int(self.zygote.ask(wait=self.pid))


class Zygote:
    """The warm process. Its environment, `variables` in it, is that of all commands."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder = folder
        one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # where `sae-encode` is found
        self._environment = {**os.environ, **path, **one_thread, **variables}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment, text=True
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

    def start(self, *argv: object, offline: bool = False) -> Running:
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        pid = self.ask(argv=["sae-encode", *map(str, argv)], folder=str(folder), offline=offline)
        return Running(pid, folder, self)

    def run(self, *argv: object, offline: bool = False) -> tuple[int, Running]:
        """Run the command to its end; return its exit status and what it said."""
        running = self.start(*argv, offline=offline)
        return running.wait(), running


def wait_for(condition: Any, limit_s: float = 120.0) -> Any:
    """Wait for something that another process brings about, and return it."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
    return found


def _in_the_fork(argv: list[str], folder: str, offline: bool) -> None:
    import huggingface_hub.constants as hub

    import encoder.cli

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    hub.HF_HUB_OFFLINE = offline  # what the environment variable sets; a real outage it sits out for 24 s
    sys.argv = argv
    encoder.cli.main()


def _serve() -> None:
    gc.disable()  # a fifth of the time that the imports take
    import encoder.cli.queue
    import encoder.cli.run
    import encoder.cli.stats
    import encoder.cli.work
    import encoder.kernels.cpu.kernel
    import encoder.kernels.fallback
    import encoder.kernels.reference
    import encoder.sae.load  # noqa: F401 - all of it is warm then

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
            _in_the_fork(**order)
            status = 0
        except SystemExit as exc:
            status = exc.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


if __name__ == "__main__":
    _serve()
