"""The device that `--device` names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from encoder.errors import InputError

if TYPE_CHECKING:
    import torch

EXPECTED = "expected auto, cpu, cuda, cuda:N or mps"
_NAME = re.compile(r"auto|cpu(:0)?|cuda(:\d{1,4})?|mps(:0)?")


def check_device(name: str) -> None:
    """Raises: InputError if no device can have this name. Whether there is such a device, `pick_device` finds out."""
    if not _NAME.fullmatch(name):
        raise InputError(f"--device {name}: {EXPECTED}")


def pick_device(name: str) -> torch.device:
    """Return the named device; `auto` means cuda, else mps, else cpu. Raises: InputError if there is no such device."""
    check_device(name)
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: not available here; use --device cpu")
    return device
