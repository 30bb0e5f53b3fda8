"""The precision of the CPU's screen, chosen by measuring the products on this processor.

An int8 screen lets through several times as many wrong candidates as a bfloat16 screen, and a bfloat16 screen a few
more than a float32 screen. So a coarser product has to be faster by enough to pay for its candidates. How much is
enough depends on the caches and on the rows. If two products are about equally fast, the first rows decide: `trial.py`
times the whole pass on them.

TopK never takes int8. The bound of the product counts twice for TopK: once for a row's floor, once for the features
that may reach the floor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch

from encoder.errors import InputError
from encoder.kernels.kernel import SCREEN_VARIABLE, Choice

PRECISIONS = ("int8", "bf16", "fp32")

_WORTH = {("int8", "bf16"): 1.5, ("int8", "fp32"): 1.8, ("bf16", "fp32"): 1.2}
"""How many times faster the first product has to be than the second to be chosen. These are guesses, which the first
rows correct."""
_NEAR = 2.5
"""A product that is slower than the fastest by more than this factor is not tried on the first rows."""
INT8_TERMS = range(2, 1 << 17)
"""The numbers of inputs that an int8 product may have. Sums over more inputs could overflow int32; with a single input
torch does not write the product."""
_F, _D, _T = 256, 2048, 256
_ROUNDS = 7


def screen_precision(
    forced: str | None = None,
    *,
    d_in: int = _D,
    without_int8: bool = False,
    clock: Callable[[], float] = time.thread_time,
) -> Choice:
    """Return `forced`, else the environment's SAEFETCH_SCREEN, else a choice by measuring.

    A process measures once, which takes about 0.1 s.

    Raises: InputError for a precision that does not exist or that this processor does not compute exactly.
    """
    for value, source in ((forced, "asked for"), (os.environ.get(SCREEN_VARIABLE), f"set by {SCREEN_VARIABLE}")):
        if value:
            if value not in PRECISIONS:
                raise InputError(f"screen precision {value!r}, {source}: expected one of {', '.join(PRECISIONS)}")
            if value == "int8" and not int8_is_exact():
                raise InputError(f"screen precision int8, {source}: this processor's int8 products saturate")
            if value == "int8" and d_in not in INT8_TERMS:
                raise InputError(f"screen precision int8, {source}: not for {d_in:,} inputs")
            return Choice(value, source, is_forced=True)
    seconds = _measured(clock)
    open_to = [name for name in PRECISIONS if name in seconds]
    if without_int8 or d_in not in INT8_TERMS:
        open_to = [name for name in open_to if name != "int8"]
    chosen = next(
        name
        for place, name in enumerate(open_to)
        if all(seconds[other] > _WORTH[name, other] * seconds[name] for other in open_to[place + 1 :])
    )
    speeds = ", ".join(f"{name} {seconds['fp32'] / seconds[name]:.1f}" for name in PRECISIONS if name in seconds)
    reason = f"measured: speed of a product, in fp32's: {speeds}"
    if without_int8:
        return Choice(chosen, reason + ("; int8 is not for TopK" if "int8" in seconds else ""))
    fastest = min(seconds[name] for name in open_to)
    # The chosen precision is among these, as _WORTH is below _NEAR.
    near = tuple(name for name in open_to if seconds[name] < _NEAR * fastest)
    if len(near) == 1:
        return Choice(chosen, reason)
    return Choice(chosen, f"{reason}; the first rows decide between {' and '.join(near)}", contenders=near)


@cache
def int8_is_exact() -> bool:
    """Say whether int8 products are exact here: some processors without VNNI saturate sums of two in 16 bits."""
    if not hasattr(torch, "_int_mm"):
        return False
    rows = torch.full((64, 256), 127, dtype=torch.int8)
    rows[1::2] = -127
    try:
        product = torch._int_mm(rows, rows.T)
    except RuntimeError:
        return False
    return bool((product == (rows.double() @ rows.double().T)).all())


@cache
def _measured(clock: Callable[[], float]) -> dict[str, float]:
    """Return the seconds of a product in each precision, on one thread, as the kernel's products run on one thread."""
    # A thread that has never read its number of threads takes the number that any thread set last: the caller's number
    # is read before the initializer below sets 1.
    torch.get_num_threads()
    with ThreadPoolExecutor(1, "calibrate", initializer=torch.set_num_threads, initargs=(1,)) as thread:
        return thread.submit(_time_products, clock).result()


def _time_products(clock: Callable[[], float]) -> dict[str, float]:
    dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32} | ({"int8": torch.int8} if int8_is_exact() else {})
    operands = {name: (torch.ones(_F, _D).to(dtype), torch.ones(_T, _D).to(dtype)) for name, dtype in dtypes.items()}
    multiply = {name: torch._int_mm if name == "int8" else torch.mm for name in dtypes}
    calls = {name: partial(multiply[name], weights, rows.T) for name, (weights, rows) in operands.items()}
    return seconds_in_turns(calls, _ROUNDS, clock)


def seconds_in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the least seconds that each call took. The first round builds code and fills caches; it does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):  # in turns, so that a busy moment of the machine slows all calls
        for name, call in calls.items():
            began = clock()
            call()
            times[name].append(clock() - began)
    return {name: max(min(taken[1:]), 1e-9) for name, taken in times.items()}
