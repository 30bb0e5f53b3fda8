"""The kernels, and which of them does an SAE on a device.

kernel.py       the seam that all of them keep: rows in, CSR out
reference.py    plain torch in float64: the truth in tests
cpu.py          float32 screen with a proved bound, then float64 for the few candidates (numba)
device.py       the same on a GPU, through torch
fallback.py     sae.encode, for architectures without an exact rule
"""

from __future__ import annotations

import torch

from encoder.errors import InputError
from encoder.kernels.kernel import Kernel
from encoder.sae import LoadedSae

__all__ = ["Kernel", "make_kernel"]


def make_kernel(sae: LoadedSae, device: torch.device, backend: str) -> Kernel:
    """Make the kernel that was asked for; `auto` picks by device and architecture.

    Raises: InputError if the backend cannot do this SAE on this device.
    """
    from encoder.kernels.cpu import CpuKernel
    from encoder.kernels.device import DeviceKernel
    from encoder.kernels.fallback import FallbackKernel
    from encoder.kernels.reference import ReferenceKernel

    if backend == "triton":
        raise InputError("--backend triton: there is no Triton kernel yet; auto uses torch on the GPU")
    if sae.rule is None:
        if backend != "auto":
            raise InputError(f"--backend {backend}: {sae.architecture} SAEs have no exact rule; only auto does them")
        return FallbackKernel(sae, device)
    if backend == "reference":
        return ReferenceKernel(sae)
    if device.type == "cpu":
        return CpuKernel(sae)
    if backend == "cpu":
        raise InputError(f"--backend cpu does not run on --device {device}")
    return DeviceKernel(sae, device)
