"""How much memory an SAE takes, said before any of it is taken: from the headers of its files, or from its widths.

    weights     every array in float32: W_enc and W_dec are nearly all of it
    screen      W_enc once more, in the screen's precision (encoder.kernels): 1, 2 or 4 bytes a weight
    reading     the file's own arrays, which are let go as the weights are made of them

The peak is the weights, and the larger of screen and reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from encoder.errors import InputError
from encoder.machine.free_memory import free_bytes
from encoder.sae.loaders import all_layers
from encoder.sae.loaders.loaded import contents_of

SCREEN_BYTES = {"int8": 1, "bf16": 2, "fp32": 4}
_FILES = (".safetensors", ".npz", ".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class Memory:
    """What an SAE of d_in inputs and d_sae features takes, in bytes."""

    d_in: int
    d_sae: int
    weights: int
    screen: int
    reading: int

    @property
    def peak(self) -> int:
        return self.weights + max(self.screen, self.reading)

    def __str__(self) -> str:
        return (
            f"{gigabytes(self.peak)} for {self.d_in:,} inputs and {self.d_sae:,} features: {gigabytes(self.weights)} of"
            f" weights in float32, and {gigabytes(self.screen)} for the screen or {gigabytes(self.reading)} while they"
            f" are read"
        )


def of_widths(d_in: int, d_sae: int, precision: str = "bf16") -> Memory:
    """Return what an SAE of these widths takes whose files are in float32."""
    weights = 4 * (2 * d_in * d_sae + 2 * d_sae + d_in)
    return Memory(d_in, d_sae, weights, SCREEN_BYTES[precision] * d_in * d_sae, weights)


def of_path(path: Path, precision: str = "bf16") -> Memory | None:
    """Return what the SAE in a folder or file takes; None where its files do not say it.

    The largest file of weights counts: what lies beside it is no part of the SAE, or small.
    """
    if all_layers.claims(path):
        return _of_layers(path, precision)
    files = [file for pattern in ("*", "*/*") for file in path.glob(pattern)] if path.is_dir() else [path]
    sizes = {file: file.stat().st_size for file in files if file.suffix in _FILES and file.is_file()}
    if not sizes:
        return None
    largest = max(sizes, key=lambda file: sizes[file])
    shapes = contents_of(largest).values()
    n_weights = sum(map(prod, shapes))
    encoder = contents_of(largest).get("w_enc", ())
    matrices = [encoder] if encoder else sorted((shape for shape in shapes if len(shape) > 1), key=prod)
    if not matrices:
        return None
    d_sae = max(matrices[-1])
    widest = prod(matrices[-1])
    return Memory(widest // d_sae, d_sae, 4 * n_weights, SCREEN_BYTES[precision] * widest, sizes[largest])


def _of_layers(path: Path, precision: str) -> Memory | None:
    """Return what all layers of a folder take as one, whose encoder is mostly zeros."""
    widths = all_layers.widths_of(path)
    if widths is None:
        return None
    n_in, n_features, most = widths
    n_weights = n_in * n_features + n_features * (n_in // len(all_layers.files_of(path)) + 2)
    return Memory(n_in, n_features, 4 * n_weights, SCREEN_BYTES[precision] * n_in * n_features, 2 * 4 * most)


def check_fits(path: Path) -> None:
    """Raises: InputError if the SAE at a path takes more memory than is free."""
    needed, free = of_path(path), free_bytes(torch.device("cpu"))
    if needed is not None and needed.peak > free:
        files = all_layers.files_of(path)
        alone = f". A layer alone takes less, and several may be named: --sae-path {files[0]}" if files else ""
        raise InputError(
            f"--sae-path {path}: takes {needed}; {gigabytes(free)} of memory are free on this machine{alone}"
        )


def gigabytes(n: int) -> str:
    return f"{n / 2**30:,.1f} GB"
