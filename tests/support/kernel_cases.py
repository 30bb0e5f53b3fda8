"""SAEs and rows that are hard on kernels, and the comparison with the truth. Shapes: T rows, D = d_in, F = d_sae."""

from __future__ import annotations

import numpy as np
import torch
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

from encoder.arrays import AnyArray
from encoder.file.csr import Csr, check
from encoder.sae.rules import Rule
from encoder.sae.sae import LoadedSae


def make_sae(
    W_enc: torch.Tensor,
    b_enc: torch.Tensor,
    threshold: torch.Tensor | None = None,
    *,
    scale: torch.Tensor | None = None,
    k: int | None = None,
) -> LoadedSae:
    """Make an SAE of these weights; its module only preprocesses, and does nothing there but make float32."""
    d_in, d_sae = W_enc.shape
    config = JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, dtype="float32", device="cpu", apply_b_dec_to_input=False)
    threshold = torch.zeros(d_sae) if threshold is None else threshold
    return LoadedSae(JumpReLUSAE(config), Rule(W_enc, b_enc, threshold, scale, k), {})


def random_sae(d_in: int, d_sae: int, *, k: int | None = None, scaled: bool = False, seed: int = 0) -> LoadedSae:
    """Make a random SAE with about 5 % of its features active; some columns are zero, tiny, huge or denormal."""
    made = torch.Generator().manual_seed(seed)
    W_enc = torch.randn(d_in, d_sae, generator=made) / d_in**0.5
    b_enc = torch.randn(d_sae, generator=made) * 0.1
    threshold = torch.rand(d_sae, generator=made) + 1.2
    W_enc[:, 0], b_enc[1], threshold[1] = 0.0, 0.0, 0.0
    W_enc[:, 2] *= 1e-30
    W_enc[:, 3] *= 1e10
    W_enc[:, 4] *= 1e-40
    W_enc[: d_in // 2, 5] *= 1e-6
    b_enc[6], threshold[6] = 1e-40, 0.0
    b_enc[7] = threshold[7]
    scale = torch.rand(d_sae, generator=made) + 0.5 if scaled else None
    return make_sae(W_enc, b_enc, threshold if k is None else None, scale=scale, k=k)


def hard_rows(d_in: int, seed: int = 0) -> torch.Tensor:
    """Make rows [17, D] float32: zero, huge, tiny, denormal, with massive dimensions, with entries far apart."""
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(17, d_in, generator=made)
    x[0] = 0.0
    for row, size in ((1, 1e5), (2, 1e20), (3, 1e27), (4, 1e-5), (5, 1e-20), (6, 1e-38), (7, 1e-42)):
        x[row] *= size
    x[8, 3], x[9, 3], x[9, 5] = 3000.0, -3000.0, 500.0
    x[10] = 0.0
    x[10, 1] = 1.0
    x[11] *= torch.logspace(-30, 3, d_in)
    x[12] = -0.0
    x[13, 0] = 1e-45
    x[14] = x[14].to(torch.bfloat16).float()
    x[15] = x[15].abs()
    x[16] *= 2.0**-115
    return x


def assert_same(found: Csr, truth: Csr) -> None:
    """The same support, and values that differ by one unit in the last place at most."""
    np.testing.assert_array_equal(found.indptr, truth.indptr)
    np.testing.assert_array_equal(found.indices, truth.indices)
    assert (found.indptr.dtype, found.indices.dtype, found.data.dtype) == (np.int64, np.int32, np.float32)
    assert found.shape == truth.shape
    if len(truth.data):
        np.testing.assert_array_max_ulp(found.data, truth.data, maxulp=1)
    check(found)


def assert_equal_bytes(found: Csr, other: Csr) -> None:
    for name in ("indptr", "indices", "data"):
        a: AnyArray = getattr(found, name)
        assert a.tobytes() == getattr(other, name).tobytes(), name
