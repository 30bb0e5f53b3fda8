"""The `sae-encode` command. A command line is a thin face: each command parses its words and calls one function.

app.py     the commands          flags.py: flags of several       examples.py: the end of each help
run.py     a whole run           work.py: one worker, and the last words of both
advice.py  the command that works, of those last words
queue.py   submit, status, retry
template.py  a script for a cluster
stats.py   a folder of features  index.py: its index      info.py: this machine
"""

import gc
import os

from saefetch.terminal.program import Program

__all__ = ["main"]


def _prepare(command: str) -> None:
    """Set what has to be set before torch is imported.

    The garbage collector runs less often: torch and SAELens are half a million objects that stay. And threads of torch
    sleep when they have nothing to do, where they would spin on a processor that the kernel's own threads need: of a
    hundred shards of 100 rows that takes a sixth of all processor time.
    """
    gc.set_threshold(50_000, 20, 100)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


main = Program("sae-encode", "encoder", _prepare, extra="encode", child_flag="--report").main
