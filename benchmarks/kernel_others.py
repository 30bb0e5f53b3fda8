"""What people do today to get from activations to sparse features in memory, and the bare products.

Letters as in the table: (a) to (c) are SAELens in float32 and three ways from dense to sparse, (d) SAELens in bfloat16,
whose features differ; (e) and (f) only multiply.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from encoder.file.csr import Csr
from encoder.sae.sae import LoadedSae

CLOSE_TO_ZERO = 1e-5


def others(sae: LoadedSae, low: LoadedSae, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return what to time; `low` is the same SAE in bfloat16. x [T, D]."""
    full, half = sae.module, low.module
    W_full, W_half = full.W_enc.data, half.W_enc.data
    x_full, x_half = x.float(), x.bfloat16()
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    return {
        "(a) SAELens float32, scipy csr_matrix": lambda: csr_matrix(full.encode(x.float()).numpy()),
        "(b) SAELens float32, torch to_sparse_csr": lambda: full.encode(x.float()).to_sparse_csr(),
        "(c) SAELens float32, nonzero(abs > 1e-5), twice": lambda: _nonzero_twice(full.encode(x.float())),
        "(d) SAELens bfloat16, scipy csr_matrix": lambda: csr_matrix(half.encode(x).float().numpy()),
        "(e) bare float32 product": lambda: torch.mm(x_full, W_full),
        "(f) bare bfloat16 product": lambda: torch.mm(x_half, W_half),
    }


def _nonzero_twice(dense: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    where = (dense.abs() > CLOSE_TO_ZERO).nonzero()
    return where, dense[(dense.abs() > CLOSE_TO_ZERO).nonzero(as_tuple=True)]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What SAELens in bfloat16 decides otherwise than exact arithmetic: on though off, or off though on."""

    n_tokens: int
    n_wrong: int
    n_tokens_wrong: int

    @property
    def per_token(self) -> float:
        return self.n_wrong / self.n_tokens

    def __str__(self) -> str:
        share = self.n_tokens_wrong / self.n_tokens
        return (
            f"(d) differs from exact arithmetic in {self.per_token:.2f} features a token, in {share:.0%} of the tokens."
        )


def wrong_decisions(low: LoadedSae, x: torch.Tensor, exact: Csr) -> Wrong:
    """Count them, by the first 1,024 rows: x [T, D]."""
    n = min(len(x), 1024)
    stop = exact.indptr[n]
    is_on = np.zeros((n, low.d_sae), np.bool_)
    is_on[np.repeat(np.arange(n), np.diff(exact.indptr[: n + 1])), exact.indices[:stop]] = True
    wrong = (low.module.encode(x[:n]) != 0).numpy() != is_on
    return Wrong(n, int(wrong.sum()), int(wrong.any(axis=1).sum()))
