"""Which precision the CPU's screen runs in: bfloat16 where that is measured to be faster, float32 elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

ENVIRONMENT = "SAEFETCH_SCREEN"
PRECISIONS = ("bf16", "fp32")

_SHAPE = (1024, 1024, 256)
_ROUNDS = 5
_WORTH = 1.2
"""bfloat16 lets more candidates through, so it has to be this much faster."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The precision, "bf16" or "fp32", and in one sentence why."""

    precision: str
    reason: str


def screen_precision(forced: str | None = None, *, clock: Callable[[], float] = time.perf_counter) -> Choice:
    """Choose; by `forced`, else by the environment's SAEFETCH_SCREEN, else by measuring, once a process (20 ms).

    Raises: ValueError for a precision that does not exist.
    """
    for value, source in ((forced, "asked for"), (os.environ.get(ENVIRONMENT), f"by {ENVIRONMENT}")):
        if value:
            if value not in PRECISIONS:
                raise ValueError(f"screen precision {value!r} {source}: it must be one of {', '.join(PRECISIONS)}")
            return Choice(value, source)
    return _measured(clock)


@cache
def _measured(clock: Callable[[], float]) -> Choice:
    n_features, d_in, n_rows = _SHAPE
    seconds = {}
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        weights, rows = torch.ones(n_features, d_in, dtype=dtype), torch.ones(n_rows, d_in, dtype=dtype)
        times = []
        for _ in range(_ROUNDS + 1):
            began = clock()
            torch.mm(weights, rows.T)
            times.append(clock() - began)
        seconds[precision] = min(times[1:])  # the first one builds the code
    ratio = seconds["fp32"] / seconds["bf16"]
    chosen = "bf16" if ratio > _WORTH else "fp32"
    return Choice(chosen, f"measured: a bf16 product is {ratio:.1f} times as fast as an fp32 one on this processor")
