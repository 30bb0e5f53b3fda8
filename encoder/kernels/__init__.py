"""The seam: rows in, CSR out. A kernel knows one SAE and one device.

reference.py    plain torch in float64: the truth in tests
cpu.py          float32 screen with a proved bound, then float64 for the few candidates (numba)
device.py       the same on a GPU, through torch
fallback.py     sae.encode, for architectures without an exact rule
"""

from __future__ import annotations

from typing import Protocol

import torch

from encoder.csr import Csr
from encoder.errors import InputError
from encoder.sae import LoadedSae

BACKENDS = ("auto", "reference", "cpu", "triton")


class Kernel(Protocol):
    """Turns rows into features.

    `name` is what `meta` and the command line call it; `batch_tokens` how many rows it likes at a time.
    """

    name: str
    device: torch.device

    def encode(self, x: torch.Tensor) -> Csr:
        """Encode x [T, D] as read from the shard, on the CPU, any float dtype -> CSR [T, F] with float32 values."""


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
