"""The kernels, and which of them does an SAE on a device.

kernel.py              the seam that all of them keep: rows in, CSR out
reference.py           plain torch in float64: the truth in tests
cpu.py                 int8, bfloat16 or float32 screen with a proved bound, then float64 for the few candidates
  calibrate.py         which of the three, as measured
  bound.py             the bounds of their products, proved
  operand.py           rounding rows and weights for the product; what bounds its error
  screen.py            scan, sift, rescore, put into rows (numba)
  floor.py             TopK's first pass
  lanes.py             the inner loops, as vectors
  rule.py              the rule, applied to float64 values
  exact.py             exact arithmetic where float64 cannot tell
tiled.py               what the two GPU kernels share: staging, tiles, running out of memory
  transfer.py          pinned buffers and copy streams, up and down
  device_rule.py       the rule on the device; what float64 cannot tell goes to rule.py
  assemble.py          TopK's choice, and CSR, on the device
  device.py            float32 screen through torch: CUDA without Triton, and mps
  triton_kernel.py     float16 tensor cores, in Triton
    tensor_core_bound.py   the bound of a tensor-core product, proved
    triton_rows.py         rows, scaled and rounded for the product
    triton_screen.py       product, and the test in its epilogue -> a mask of candidates
    triton_candidates.py   mask -> pairs
    triton_rescore.py      pairs -> float64
fallback.py            sae.encode, for architectures without an exact rule
"""

from __future__ import annotations

import importlib.util
import os

import torch

from encoder.errors import InputError
from encoder.kernels.kernel import Kernel
from encoder.sae import LoadedSae

__all__ = ["Kernel", "make_kernel"]


def make_kernel(sae: LoadedSae, device: torch.device, backend: str) -> Kernel:
    """Make the kernel that was asked for; `auto` picks by device and architecture. Its `reason` says why.

    Raises: InputError if the backend cannot do this SAE on this device.
    """
    kernel = _auto(sae, device) if backend == "auto" else _named(sae, device, backend)
    if backend != "auto":
        kernel.reason = f"--backend {backend}"
    return kernel


def _named(sae: LoadedSae, device: torch.device, backend: str) -> Kernel:
    if sae.rule is None:
        raise InputError(f"--backend {backend}: {sae.architecture} SAEs have no exact rule; only auto does them")
    if backend == "triton":
        obstacle = _why_not_triton(device)
        if obstacle is not None:
            raise InputError(f"--backend triton: {obstacle}")
        from encoder.kernels.triton_kernel import TritonKernel

        return TritonKernel(sae, device)
    if backend == "reference":
        from encoder.kernels.reference import ReferenceKernel

        return ReferenceKernel(sae)
    if device.type != "cpu":
        raise InputError(f"--backend {backend} does not run on --device {device}")
    from encoder.kernels.cpu import CpuKernel

    return CpuKernel(sae)


def _auto(sae: LoadedSae, device: torch.device) -> Kernel:
    if sae.rule is None:
        from encoder.kernels.fallback import FallbackKernel

        kernel: Kernel = FallbackKernel(sae, device)
        kernel.reason = f"{sae.architecture} SAEs have no exact rule"
    elif device.type == "cpu":
        from encoder.kernels.cpu import CpuKernel

        cpu = CpuKernel(sae)
        cpu.reason = f"the device is the CPU; screen in {cpu.choice.precision}, {cpu.choice.reason}"
        kernel = cpu
    elif device.type == "cuda" and not _is_interpreted() and (obstacle := _why_not_triton(device)) is None:
        kernel = _named(sae, device, "triton")
        kernel.reason = "an NVIDIA GPU, and Triton is installed"
    else:
        from encoder.kernels.device import DeviceKernel

        kernel = DeviceKernel(sae, device)
        obstacle = "Triton is set to be interpreted" if _is_interpreted() else _why_not_triton(device)
        kernel.reason = f"no Triton kernel: {obstacle}"
    return kernel


def _is_interpreted() -> bool:
    """Say whether Triton was told to emulate: for tests, thousands of times slower than any other kernel."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _why_not_triton(device: torch.device) -> str | None:
    """Return what stands in the way of the Triton kernel, or None."""
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
