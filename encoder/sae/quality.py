"""Is it the right SAE? A sample of rows is decoded from its sparse features and compared with what went in.

Activations of another layer, hook or model, or normalised differently, cannot be rebuilt: explained variance then is
near or below zero. The sample is spread evenly over the shard and scored in one piece at the end, so that the figures
do not depend on the batches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from encoder.file.csr import Csr
from encoder.sae.sae import LoadedSae

N_SAMPLE = 512
"""Rows at most."""
N_TELLING = 8
"""Rows from which on explained variance is reason for a warning: of fewer, the mean itself explains too much."""
EQUAL = 1e-4
"""Variance, as a share of the rows' squares, below which rows count as equal: there is nothing to explain."""
POOR = 0.3
"""Explained variance below which something is wrong: trained SAEs reach 0.6 to 0.99 on their own activations."""


@dataclass(frozen=True, slots=True)
class Quality:
    """`explained_variance` is 1 - sum |x - x'|^2 / sum |x - mean|^2, `cosine` the mean over rows, of `n_sampled` rows.

    Both are None where the SAE does not rebuild its input (a transcoder) or nothing can be said (fewer than 2 rows, or
    all equal).
    """

    n_sampled: int
    mean_l0: float
    explained_variance: float | None = None
    cosine: float | None = None

    def document(self) -> dict[str, float | int | None]:
        return asdict(self)

    def warning(self, expected_l0: float | None) -> str | None:
        """Say in plain words what looks wrong; None if nothing does."""
        explained = self.explained_variance
        if explained is not None and explained < POOR and self.n_sampled >= N_TELLING:
            return (
                "this does not look like the right SAE for these activations: it explains"
                f" {explained:.0%} of their variance, where 60 % to 99 % is usual."
                " Another layer, hook or model, or another normalisation?"
            )
        if expected_l0 and self.n_sampled >= 100 and not expected_l0 / 4 <= self.mean_l0 <= expected_l0 * 4:
            return f"{self.mean_l0:.0f} features a token are active, where this SAE was trained for {expected_l0:.0f}"
        return None


class Sample:
    """Collects every n-th row of a shard of `n_rows`, as batches go by, and scores them at the end."""

    def __init__(self, sae: LoadedSae, n_rows: int) -> None:
        self._sae = sae
        self._step = max(1, -(-n_rows // N_SAMPLE))
        self._rows: list[torch.Tensor] = []
        self._features: list[Csr] = []
        self._n_rows = self._nnz = 0

    def add(self, x: torch.Tensor, features: Csr) -> None:
        """Take this batch's share: x [T, D] as read, features its CSR [T, F]."""
        first = -self._n_rows % self._step
        if first < len(x):
            self._rows.append(x[first :: self._step].clone())
            self._features.append(features.every(self._step, first))
        self._n_rows += len(x)
        self._nnz += len(features.indices)

    def score(self) -> Quality:
        mean_l0 = round(self._nnz / self._n_rows, 4) if self._n_rows else 0.0
        n_sampled = sum(len(rows) for rows in self._rows)
        if n_sampled < 2 or not self._sae.rebuilds:
            return Quality(n_sampled, mean_l0)
        x = torch.cat(self._rows)
        rebuilt = self._sae.decode(x, Csr.concatenate(self._features, self._sae.d_sae)).cpu().double()
        truth = x.double()
        spread = (truth - truth.mean(dim=0)).square().sum()
        is_telling = spread > EQUAL * truth.square().sum()
        explained = 1 - (truth - rebuilt).square().sum() / spread if is_telling else torch.tensor(torch.nan)
        cosine = torch.nn.functional.cosine_similarity(truth, rebuilt, dim=1).mean()
        # Four places: the last bits of a sum depend on the number of threads.
        return Quality(n_sampled, mean_l0, *(round(float(v), 4) if v.isfinite() else None for v in (explained, cosine)))
