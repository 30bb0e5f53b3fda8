"""The precision of the CPU's screen, chosen by measuring the products on this processor.

An int8 screen lets through several times as many wrong candidates as a bfloat16 screen, and a bfloat16 screen a few
more than a float32 screen. So a coarser product has to be faster by enough to pay for its candidates. How much is
enough depends on the caches and on the rows. If two products are about equally fast, the first rows decide: `trial.py`
times the whole pass on them.

The bound of the product counts twice for TopK: once for a row's floor, once for the features that may reach the floor.
So int8 has to be faster there by more.
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
_WORTH_TOP_K = {("int8", "bf16"): 2.2, ("int8", "fp32"): 2.2, ("bf16", "fp32"): 1.2}
"""How many times faster the first product has to be than the second to be chosen. These are guesses, which the first
rows correct."""
_NEAR = 2.5
"""A product that is slower than the fastest by more than this factor is not tried on the first rows."""
INT8_TERMS = range(2, 1 << 17)
"""The numbers of inputs that an int8 product may have. Sums over more inputs could overflow int32; with a single input
torch does not write the product."""
_F, _D, _T = 256, 2048, 256
_LEVELS_TESTED = 64
_ROUNDS = 7


def screen_precision(
    forced: str | None = None,
    *,
    d_in: int = _D,
    is_top_k: bool = False,
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
            if value == "int8" and d_in not in INT8_TERMS:
                raise InputError(f"screen precision int8, {source}: not for {d_in:,} inputs")
            if value == "int8" and not int8_levels(d_in):
                raise InputError(f"screen precision int8, {source}: this processor's int8 products saturate")
            return Choice(value, source, is_forced=True)
    seconds = _measured(clock)
    open_to = [name for name in PRECISIONS if name in seconds]
    if without_int8 or d_in not in INT8_TERMS or not int8_levels(d_in):
        open_to = [name for name in open_to if name != "int8"]
    worth = _WORTH_TOP_K if is_top_k else _WORTH
    chosen = next(
        name
        for place, name in enumerate(open_to)
        if all(seconds[other] > worth[name, other] * seconds[name] for other in open_to[place + 1 :])
    )
    speeds = ", ".join(f"{name} {seconds['fp32'] / seconds[name]:.1f}" for name in PRECISIONS if name in seconds)
    reason = f"measured: speed of a product, in fp32's: {speeds}"
    if without_int8:
        return Choice(chosen, reason)
    fastest = min(seconds[name] for name in open_to)
    # The chosen precision is among these, as _WORTH is below _NEAR.
    near = tuple(name for name in open_to if seconds[name] < _NEAR * fastest)
    if len(near) == 1:
        return Choice(chosen, reason)
    return Choice(chosen, f"{reason}; the first rows decide between {' and '.join(near)}", contenders=near)


_REST_US = {"int8": 75.0, "bf16": 50.0, "fp32": 30.0}
_REST_US_SEVEN_BITS = 120.0
"""Microseconds a token beside the product, for 2,304 inputs and an L0 of 100, as seen on an EPYC of 2024."""
_SAELENS = 1.3
"""How much longer than its float32 product SAELens and scipy take."""


def expected(precision: str, clock: Callable[[], float] = time.thread_time) -> tuple[float, float]:
    """Return about how many tokens a second one thread encodes, and how many times as many as SAELens and scipy.

    For 2,304 inputs, 16,384 features and an L0 of 100 of a threshold's SAE, from the products as measured here.
    """
    rest = _REST_US_SEVEN_BITS if precision == "int8" and int8_levels() < 127 else _REST_US[precision]
    product_us = {name: 1e6 * one * (2304 * 16_384) / (_D * _F * _T) for name, one in _measured(clock).items()}
    ours_us = product_us[precision] + rest
    return 1e6 / ours_us, _SAELENS * product_us["fp32"] / ours_us


def int8_is_exact() -> bool:
    """Say whether int8 products are exact here, for rows of `int8_levels`."""
    return int8_levels() > 0


@cache
def int8_levels(d_in: int = _D) -> int:
    """Return the largest whole number that rows may hold for products with -127..127 to be exact; 0 if there is none.

    Processors without VNNI add pairs of products in 16 bits, which saturate. The product moves the features' operand
    to 0..255 before, so that 2 * 255 * 64 still fits. What is returned passed the worst case, in a product of d_in.
    """
    if not hasattr(torch, "_int_mm"):
        return 0
    signs = torch.ones(_LEVELS_TESTED, dtype=torch.int8)
    signs[1::2] = -1
    features = (127 * signs[:, None]).expand(-1, d_in).contiguous()
    for levels in (127, 64):
        rows = (levels * signs[:, None]).expand(-1, d_in).contiguous()
        try:
            product = torch._int_mm(features, rows.T)
        except RuntimeError:
            return 0
        if torch.equal(product, 127 * levels * d_in * signs[:, None].int() * signs.int()):
            return levels
    return 0


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
