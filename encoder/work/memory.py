"""`encoder.encode`: rows in memory become features in memory, by the kernels and with the checks that files have.

    x [..., D]  ->  rows [T, D], a batch at a time  ->  checked  ->  kernel  ->  scipy CSR [T, F]

The first call for an SAE on a device makes a kernel, which measures and rounds the weights. The SAE keeps that kernel,
so that later calls cost little more than the kernel itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

import numpy as np
import torch
from scipy.sparse import csr_matrix

from encoder.arrays import AnyArray
from encoder.errors import ShardError
from encoder.file.csr import Csr, Values, fitted
from encoder.kernels import Kernel, make_kernel
from encoder.machine.devices import pick_device
from encoder.options import Backend, Options
from encoder.sae.sae import LoadedSae
from encoder.work.named import SaeLike, loaded
from encoder.work.sound import unsound_rows

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
EXPECTED = "expected float16, bfloat16, float32 or float64"
IDS = "; are these token ids? Activations are floats"
IDS = "; are these token ids? Activations are floats"

Rows = AnyArray | torch.Tensor
Batch = Callable[[int, int], torch.Tensor]

_making = threading.Lock()
_home = os.getpid()


def encode(
    x: Rows,
    sae: SaeLike,
    *,
    device: str = "auto",
    backend: Backend = "auto",
    values: Values = "float32",
    batch_tokens: int = 4096,
) -> csr_matrix:
    """Encode activations in memory: x [..., d_in], a torch tensor or a numpy array -> CSR [rows, d_sae] float32.

    `x` is float16, bfloat16, float32 or float64, which is rounded to float32. Leading axes are flattened in C order.
    `sae` is what `load_sae` returns; a path or (release, id) is loaded anew at each call. `values="float16"` rounds the
    values to float16, and returns them as float32, in which scipy can compute. `batch_tokens` rows are encoded at a
    time; it changes memory, never the result.

    Raises: ShardError if x holds NaN or infinity, or is not floats of the SAE's width; InputError for an SAE, a device,
    a backend or a setting that cannot be used.
    """
    options = Options(device=device, backend=backend, values=values, batch_tokens=batch_tokens)
    shape, batch = _batches_of(x)
    sae = loaded(sae)
    _check_width(shape, sae.d_in)
    n_rows, parts = int(np.prod(shape[:-1])), []
    with _warm_kernel(sae, pick_device(options.device), options.backend) as kernel:
        for start in range(0, n_rows, options.batch_tokens):
            rows = batch(start, min(start + options.batch_tokens, n_rows))
            _check(rows, start, shape)
            parts.append(kernel.encode(rows))
    features = parts[0] if len(parts) == 1 else Csr.concatenate(parts, sae.d_sae)
    data = features.data
    if options.values == "float16":
        data = fitted(data, np.dtype(np.float16), "x").astype(np.float32)
    found = csr_matrix((data, features.indices, features.indptr), shape=features.shape, copy=False)
    found.has_sorted_indices = found.has_canonical_format = True
    return found


@contextmanager
def _warm_kernel(sae: LoadedSae, device: torch.device, backend: str) -> Iterator[Kernel]:
    """Give the SAE's kernel to one thread at a time, in the precision that the kernel was proved for.

    A kernel's threads do not live on in a forked process, which therefore makes a kernel of its own; and OpenMP, which
    torch computes with, waits for ever there for the threads that it had, unless it is told to do with one.
    """
    key = device, backend, os.getpid()
    if os.getpid() != _home and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    with _making:
        if key not in sae.warm:
            sae.warm[key] = make_kernel(sae, device, backend), threading.Lock()
        kernel, lock = sae.warm[key]
    with ExitStack() as plain:
        plain.enter_context(lock)
        for kind in {"cpu", device.type} - {"mps"}:
            plain.enter_context(torch.autocast(kind, enabled=False))  # it would round products behind the proof's back
        if torch.get_default_device().type != "cpu":
            plain.enter_context(torch.device("cpu"))
        yield kernel


def _check_width(shape: tuple[int, ...], d_in: int) -> None:
    if shape and shape[-1] == d_in:
        return
    found = f"rows of {shape[-1]:,} numbers" if shape else "a single number"
    hint = "another layer, hook or model?"
    if len(shape) > 1 and shape[-2] * shape[-1] == d_in:
        hint = "where the last two axes make up a row, as of heads, give x.reshape(*x.shape[:-2], -1)"
    elif len(shape) == 2 and shape[0] == d_in:
        hint = "where each column is a token, give x.T"
    raise ShardError(f"x {list(shape)}: {found}, but the SAE takes {d_in:,}; {hint}")


def _batches_of(x: object) -> tuple[tuple[int, ...], Batch]:
    """Return the shape of x, and what gives its rows [start, stop) as a tensor of their own kind on the CPU."""
    if isinstance(x, torch.Tensor):
        return _of_tensor(x)
    if isinstance(x, np.ndarray):
        return _of_array(x)
    return _refuse(f"a {type(x).__name__}", "expected a torch tensor or a numpy array of floats")


def _of_tensor(x: torch.Tensor) -> tuple[tuple[int, ...], Batch]:
    if x.layout != torch.strided or x.is_nested:
        _refuse(str(x.layout), "expected a dense tensor: x.to_dense()")
    if x.is_meta:
        _refuse("on the device meta", "expected a tensor that holds data")
    if x.dtype not in FLOATS:
        _refuse(str(x.dtype), EXPECTED + (IDS if not (x.is_floating_point() or x.is_complex()) else ""))
    rows = x.detach().reshape(-1, x.shape[-1]) if x.ndim and x.shape[-1] else x
    dtype = torch.float32 if x.dtype == torch.float64 else x.dtype
    return tuple(x.shape), lambda start, stop: rows[start:stop].to("cpu", dtype).resolve_neg().contiguous()


def _of_array(x: AnyArray) -> tuple[tuple[int, ...], Batch]:
    if isinstance(x, np.ma.MaskedArray):
        _refuse("a masked array", "expected an array without a mask: x[rows] takes the rows to encode")
    is_bf16 = x.dtype.name == "bfloat16"  # of ml_dtypes
    if not is_bf16 and (x.dtype.kind != "f" or x.dtype.itemsize > 8):
        _refuse(str(x.dtype), EXPECTED + (IDS if x.dtype.kind in "iub" else ""))
    flat = np.asarray(x)
    rows = flat.reshape(-1, x.shape[-1]) if x.ndim and x.shape[-1] else flat
    wanted = np.dtype(np.float32) if x.dtype.itemsize == 8 else rows.dtype.newbyteorder("=")

    def batch(start: int, stop: int) -> torch.Tensor:
        with np.errstate(over="ignore"):
            part = np.require(
                rows[start:stop], wanted, ["C", "A", "W"]
            )  # a read-only array is copied: torch warns of one
        return torch.from_numpy(part.view(np.int16)).view(torch.bfloat16) if is_bf16 else torch.from_numpy(part)

    return tuple(x.shape), batch


def _refuse(found: str, expected: str) -> NoReturn:
    raise ShardError(f"x is {found}; {expected}")


def _check(rows: torch.Tensor, start: int, shape: tuple[int, ...]) -> None:
    bad = unsound_rows(rows)
    if len(bad):
        row = start + int(bad[0])
        at = f", x{[int(i) for i in np.unravel_index(row, shape[:-1])]}" if len(shape) > 2 else ""
        raise ShardError(
            f"x: row {row:,}{at} holds NaN, infinity or a number too large for float32 ({len(bad):,} of the rows"
            f" {start:,} to {start + len(rows) - 1:,} do)"
        )
