"""The device that `--device` names."""

from __future__ import annotations

import torch

from encoder.errors import InputError

EXPECTED = "expected auto, cpu, cuda, cuda:N or mps"


def pick_device(name: str) -> torch.device:
    """Return the named device; `auto` means cuda, else mps, else cpu. Raises: InputError if there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise InputError(f"--device {name}: {EXPECTED}") from exc
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: not available here; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device {name}: {EXPECTED}")
    return device
