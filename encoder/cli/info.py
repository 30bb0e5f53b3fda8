"""`sae-encode info`: what this machine computes with, and why. No SAE is loaded."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import saefetch
from encoder.kernels import BACKENDS, check_backend, choose
from encoder.kernels.cpu.calibrate import screen_precision
from encoder.machine.devices import pick_device
from encoder.machine.processor import cpu_model
from encoder.options import Options
from saefetch.terminal.output import print_json

LIBRARIES = ("torch", "sae-lens", "numba", "triton")
RULES = {"thresholds": "JumpReLU, ReLU and BatchTopK", "topk": "TopK"}


def info(options: Options, *, as_json: bool) -> None:
    """Print the libraries, the devices, the kernel and its screen. Raises: InputError for what is not there."""
    found = describe(options)
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


def describe(options: Options) -> dict[str, Any]:
    """Return what `info` prints."""
    device = pick_device(options.device)
    backend, reason = choose(device)
    if options.backend in BACKENDS:
        check_backend(options.backend, device)
        backend, reason = options.backend, "asked for"
    screens = {}
    if backend == "cpu":
        screens = {"thresholds": screen_precision(), "topk": screen_precision(without_int8=True)}
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
    }


def _devices() -> list[str]:
    cuda = [f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
