"""Which precision the CPU's screen runs in, as measured on this processor: first the products alone, then all of it.

int8 lets several times as many wrong candidates through as bfloat16 does, and bfloat16 a few more than float32; so each
product has to be enough faster to be worth that. How much is enough depends on the caches and on the rows: where two
products are near, the first rows decide, by a trial of the whole pass on them (`trial.py`).

TopK has no use for int8: its bound counts twice there, for the floor and for what may reach it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch

from encoder.errors import InputError
from encoder.kernels.kernel import Choice

ENVIRONMENT = "SAEFETCH_SCREEN"
PRECISIONS = ("int8", "bf16", "fp32")

_WORTH = {("int8", "bf16"): 1.5, ("int8", "fp32"): 1.8, ("bf16", "fp32"): 1.2}
"""How many times faster the first product has to be than the second, as a guess."""
_NEAR = 2.5
"""Where one is more than so many times slower, there is nothing to try."""
INT8_TERMS = range(2, 1 << 17)
"""Inputs that an int8 product may have: sums of more could overflow, and torch leaves a product of one unwritten."""
_F, _D, _T = 256, 2048, 256
_ROUNDS = 7


def screen_precision(
    forced: str | None = None,
    *,
    d_in: int = _D,
    without_int8: bool = False,
    clock: Callable[[], float] = time.thread_time,
) -> Choice:
    """Choose: `forced`, else the environment's SAEFETCH_SCREEN, else by measuring, once a process (about 0.1 s).

    Raises: InputError for a precision that does not exist or that this processor does not compute exactly.
    """
    for value, source in ((forced, "asked for"), (os.environ.get(ENVIRONMENT), f"set by {ENVIRONMENT}")):
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
    near = tuple(name for name in open_to if seconds[name] < _NEAR * fastest)  # the chosen one is: _WORTH is less
    if len(near) == 1:
        return Choice(chosen, reason)
    return Choice(chosen, f"{reason}; the first rows decide between {' and '.join(near)}", contenders=near)


@cache
def int8_is_exact() -> bool:
    """Say whether int8 products are exact here: without VNNI some processors saturate sums of two in 16 bits."""
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
    """Return a product's seconds by precision, on one thread, as the kernel's are: two would count waiting as work."""
    torch.get_num_threads()  # asked for, the caller's number is its own: what a thread sets below does not reach it
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
    """Return the least seconds that each call took, but for a first round, which builds code and fills caches."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):  # in turns, so that a busy moment is nobody's alone
        for name, call in calls.items():
            began = clock()
            call()
            times[name].append(clock() - began)
    return {name: max(min(taken[1:]), 1e-9) for name, taken in times.items()}
