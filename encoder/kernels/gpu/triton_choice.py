"""The precision of the Triton screen: float16, or int8 where a trial on the first rows shows that it is faster.

An int8 product takes half the time and reads half the bytes, and its bound is wider, so that more candidates have to be
computed again in float64. Which is faster in all depends on the SAE, the rows and the chip. So both are timed on the
first rows, with the candidates' float64 included. TopK is not tried in int8, as its bound counts twice there. Nor is
int8 on Blackwell, where Triton's compiler does not reach the tensor core's int8 (docs/gpu-kernels.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch

from encoder.errors import InputError
from encoder.kernels.gpu.tensor_core_bound import INT8_TERMS
from encoder.kernels.kernel import SCREEN_VARIABLE, Choice
from encoder.sae.rules import Rule

PRECISIONS = ("int8", "fp16")
MIN_ROWS = 256
"""A trial takes at least this many rows: fewer measure too little, and are encoded in less time than a trial takes."""
_MAJORS_WITH_INT8 = (8, 9)
_ROUNDS = 5


def choose_screen(forced: str | None, rule: Rule, device: torch.device) -> Choice:
    """Return `forced`, else the environment's SAEFETCH_SCREEN, else float16, with what the first rows may change.

    Raises: InputError for a precision that the screen does not have, or not for so many inputs.
    """
    d_in = len(rule.W_enc)
    for value, source in ((forced, "asked for"), (os.environ.get(SCREEN_VARIABLE), f"set by {SCREEN_VARIABLE}")):
        if value:
            if value not in PRECISIONS:
                expected = " or ".join(PRECISIONS)
                raise InputError(f"screen precision {value!r}, {source}: expected {expected} for the Triton kernel")
            if value == "int8" and d_in >= INT8_TERMS:
                raise InputError(f"screen precision int8, {source}: not for {d_in:,} inputs")
            return Choice(value, source, is_forced=True)
    if rule.k is not None:
        return Choice("fp16", "int8 is not for TopK")
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] not in _MAJORS_WITH_INT8:
        return Choice("fp16", "int8 is not tried on this device")
    if d_in >= INT8_TERMS:
        return Choice("fp16", f"int8 is not for {d_in:,} inputs")
    return Choice("fp16", "the first rows decide between int8 and fp16", contenders=PRECISIONS)


def choose_by_trial(passes: Mapping[str, Callable[[], object]], device: torch.device) -> Choice:
    """Run each precision's pass in turns, by the device's clock, and return the fastest."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(1 + _ROUNDS):
        for name, run in passes.items():
            times[name].append(_seconds(run, device))
    seconds = {name: min(taken[1:]) for name, taken in times.items()}  # the first round compiles
    return fastest(seconds)


def fastest(seconds: Mapping[str, float]) -> Choice:
    """Return the precision that took the least time, and how much longer the others took."""
    best = min(seconds, key=seconds.__getitem__)
    others = (f"{name} takes {seconds[name] / seconds[best]:.2f} times as long" for name in seconds if name != best)
    return Choice(best, f"measured on the first rows: {', '.join(others)}")


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        began.record()
        run()
        ended.record()
        ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3
