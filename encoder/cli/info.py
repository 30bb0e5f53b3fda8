"""`sae-encode info`: what this machine computes with, and why; and what an SAE would take. No SAE is loaded."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import saefetch
from encoder.kernels import BACKENDS, check_backend, choose
from encoder.kernels.cpu.calibrate import expected, screen_precision
from encoder.machine.devices import pick_device
from encoder.machine.free_memory import free_bytes
from encoder.machine.processor import cpu_model
from encoder.options import Options
from encoder.sae.at_address import brought_here
from encoder.sae.known import recall
from encoder.sae.memory import Memory, gigabytes, of_path, of_widths
from encoder.stores.object_path import path_of
from saefetch.terminal.output import print_json

LIBRARIES = ("torch", "sae-lens", "numba", "triton")
RULES = {"thresholds": "JumpReLU, ReLU and BatchTopK", "topk": "TopK"}


def info(options: Options, saes: Any, *, as_json: bool) -> None:
    """Print the libraries, the devices, the kernel and its screen, and the memory that each of the SAEs takes.

    `saes` is the `sae` of a ticket, a list of them, or None. Raises: InputError for what is not there.
    """
    found = describe(options)
    named = saes if isinstance(saes, list) else [saes] if saes else []
    if named:
        found["free_bytes"] = free_bytes(torch.device("cpu"))
        found["saes"] = [_memory_of(sae, found["screen"]) for sae in named]
    if as_json:
        print_json(found)
        return
    libraries = ", ".join(f"{name} {number or 'not installed'}" for name, number in found["libraries"].items())
    print(f"saefetch {found['saefetch_version']}, Python {found['python']}, {libraries}")
    print(f"processor  {found['processor']}, {found['instructions']}, {found['threads']} threads")
    print(f"devices    {', '.join(found['devices'])}")
    print(f"device     {found['device']} (--device {options.device})")
    print(f"backend    {found['backend']} (--backend {options.backend}): {found['reason']}")
    for name, screen in found["screen"].items():
        print(f"screen     {screen['precision']} for {RULES[name]}, {screen['reason']}")
    if found["expected"]:
        rate, times = found["expected"]["tokens_per_second"], found["expected"]["times_saelens"]
        print(f"expect     about {rate:,} tokens/s a thread for 2,304 inputs, 16,384 features and 100 active ones,")
        print(f"           {times} times SAELens' in float32 with scipy; estimated from the products measured here")
    for sae in found.get("saes", ()):
        print(f"SAE        {sae['sae']}: {_in_words(sae, found['free_bytes'])}")


def _memory_of(sae: Mapping[str, Any], screens: Mapping[str, Any]) -> dict[str, Any]:
    precision = screens["thresholds"]["precision"] if screens else "bf16"
    path = sae.get("sae_path")
    known = recall(sae).known
    memory: Memory | None
    if known is not None:
        memory = of_widths(known.d_in, known.d_sae, precision)
    elif path:
        memory = of_path(brought_here(path_of(path)), precision)
    else:
        from encoder.sae.from_registry import memory_of  # takes SAELens along, in seconds

        memory = memory_of(sae["sae_release"], sae["sae_id"], precision)
    told = None if memory is None else {**asdict(memory), "peak": memory.peak}
    return {"sae": path or f"{sae['sae_release']} {sae['sae_id']}", "memory": told}


def _in_words(sae: Mapping[str, Any], free: int) -> str:
    if sae["memory"] is None:
        return "how much memory it takes is known once it was loaded here"
    memory = Memory(**{name: sae["memory"][name] for name in Memory.__dataclass_fields__})
    return f"{memory}; {gigabytes(free)} are free" + (", which is too little" if memory.peak > free else "")


def describe(options: Options) -> dict[str, Any]:
    """Return what `info` prints."""
    device = pick_device(options.device)
    backend, reason = choose(device)
    if options.backend in BACKENDS:
        check_backend(options.backend, device)
        backend, reason = options.backend, "asked for"
    screens = {}
    if backend == "cpu":
        screens = {"thresholds": screen_precision(), "topk": screen_precision(is_top_k=True)}
    expect = {}
    if screens:
        rate, times = expected(screens["thresholds"].precision)
        expect = {"tokens_per_second": int(round(rate, -2 if rate >= 1000 else -1)), "times_saelens": round(times, 1)}
    return {
        "saefetch_version": saefetch.__version__,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "processor": cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "devices": _devices(),
        "device": str(device),
        "backend": backend,
        "reason": reason,
        "screen": {name: {"precision": choice.precision, "reason": choice.reason} for name, choice in screens.items()},
        "expected": expect,
    }


def _devices() -> list[str]:
    cuda = [f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
