"""Choose the kernel for an SAE on a device: the one that `--backend` names, or the fastest that is exact there."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import torch

from encoder.errors import InputError
from encoder.kernels.kernel import Kernel
from encoder.kernels.scaled import ScaledKernel

if TYPE_CHECKING:
    from encoder.sae.sae import LoadedSae

BACKENDS = ("reference", "cpu", "triton")
"""What `--backend` names, besides auto."""


def make_kernel(sae: LoadedSae, device: torch.device, backend: str) -> Kernel:
    """Make the kernel that `backend` names; `auto` picks a kernel by device and architecture.

    The kernel's `reason` says why it was picked. Raises: InputError if the backend cannot encode this SAE on this
    device.
    """
    kernel = _auto(sae, device) if backend == "auto" else _named(sae, device, backend)
    if backend != "auto":
        kernel.reason = f"--backend {backend}"
    return kernel if sae.value_scale is None else ScaledKernel(kernel, sae.value_scale)


def _named(sae: LoadedSae, device: torch.device, backend: str) -> Kernel:
    if sae.rule is None:
        raise InputError(f"--backend {backend}: {sae.architecture} SAEs have no exact rule; only auto does them")
    check_backend(backend, device)
    if backend == "triton":
        from encoder.kernels.gpu.triton_kernel import TritonKernel

        return TritonKernel(sae, device)
    if backend == "reference":
        from encoder.kernels.reference import ReferenceKernel

        return ReferenceKernel(sae)
    from encoder.kernels.cpu.kernel import CpuKernel

    return CpuKernel(sae)


def check_backend(backend: str, device: torch.device) -> None:
    """Raises: InputError if the backend does not run on this device."""
    if backend == "triton" and (obstacle := _why_not_triton(device)) is not None:
        raise InputError(f"--backend triton: {obstacle}")
    if backend == "cpu" and device.type != "cpu":
        raise InputError(f"--backend {backend} does not run on --device {device}")


def _auto(sae: LoadedSae, device: torch.device) -> Kernel:
    if sae.rule is None:
        from encoder.kernels.fallback import FallbackKernel

        fallback = FallbackKernel(sae, device)
        fallback.reason = f"{sae.architecture} SAEs have no exact rule"
        return fallback
    backend, reason = choose(device)
    if backend in BACKENDS:
        kernel = _named(sae, device, backend)
    else:
        from encoder.kernels.gpu.torch_kernel import TorchKernel

        kernel = TorchKernel(sae, device)
    kernel.reason = reason + (f"; screen in {choice.precision}, {choice.reason}" if (choice := kernel.choice) else "")
    return kernel


def choose(device: torch.device) -> tuple[str, str]:
    """Return which kernel `auto` takes on a device for SAEs with an exact rule, and why."""
    if device.type == "cpu":
        return "cpu", "the device is the CPU"
    obstacle = "Triton is set to be interpreted" if _is_interpreted() else _why_not_triton(device)
    if obstacle is None:
        return "triton", "an NVIDIA GPU, and Triton is installed"
    return f"torch-{device.type}", f"no Triton kernel: {obstacle}"


def _is_interpreted() -> bool:
    """Say whether Triton runs in its interpreter, which is for tests: thousands of times slower than other kernels."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _why_not_triton(device: torch.device) -> str | None:
    """Return the reason why the Triton kernel cannot run here; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install 'saefetch[encode]' on Linux has it"
    if _is_interpreted() and device.type == "cpu":
        return None
    if device.type != "cuda" or not torch.cuda.is_available():
        return f"it needs a CUDA device, and --device is {device}"
    if torch.version.hip is not None:
        return "its bound is proved for NVIDIA's tensor cores only, and this is a ROCm build of torch"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 7:
        return f"compute capability {major}.{minor} has no tensor cores; 7.0 or newer is needed"
    return None
