"""The `sae-encode` command. `app` says which commands there are; their work is in the modules beside it."""

import gc

from saefetch.terminal.program import Program

__all__ = ["main"]


def _prepare(command: str) -> None:
    """Let the garbage collector look less often: torch and SAELens are half a million objects, all of them kept."""
    gc.set_threshold(50_000, 20, 100)


main = Program("sae-encode", "encoder", _prepare, extra="encode").main
