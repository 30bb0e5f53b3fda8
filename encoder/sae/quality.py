"""Is it the right SAE? A sample of rows is decoded from its sparse features and compared with what went in.

Activations of another layer, hook or model, or normalised differently, cannot be rebuilt: explained variance then is
near or below zero. The sample is spread evenly over the rows that count and are not all zeros. Which rows are in the
sample depends on their order among these alone: neither on the batches nor on the rows that do not count.

Attention sinks are rows of many times the usual norm, which no SAE was trained to rebuild, and one of them outweighs
thousands of other rows. So the figures that are judged leave rows of extreme norm out, and the figures with them are
kept beside.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from encoder.arrays import Bool
from encoder.file.csr import Csr
from encoder.machine.repeats import zero_rows
from encoder.sae.sae import LoadedSae

N_SAMPLE = 512
"""Rows at most."""
N_TELLING = 8
"""Rows from which on explained variance is reason for a warning: of fewer, the mean itself explains too much."""
N_TELLING_L0 = 100
"""Rows from which on the mean L0 is reason for a warning."""
EXTREME = 3.0
"""A norm of more than so many times the sample's median is extreme: attention sinks have 10 to 100 times it."""
EQUAL = 1e-4
"""Variance, as a share of the rows' squares, below which rows count as equal: there is nothing to explain."""
POOR = 0.3
"""Explained variance below which something is wrong: trained SAEs reach 0.6 to 0.99 on their own activations."""
TELLING = 0.05
"""Between explained variance with and without rows of extreme norm, from which on they are told of."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the SAE rebuilds `n_sampled` rows. The `n_extreme` rows of extreme norm are left out unless it says all.

    `explained_variance` is 1 - sum |x - x'|^2 / sum |x - mean|^2, `cosine` the mean over rows. Both are None where the
    SAE does not rebuild its input (a transcoder) or nothing can be said (fewer than 2 rows, or all equal). `mean_l0` is
    that of all rows that count and are not zeros, `sampled_l0` that of the sample. The figures of all are None where no
    norm is extreme.
    """

    n_sampled: int
    mean_l0: float
    explained_variance: float | None = None
    cosine: float | None = None
    sampled_l0: float | None = None
    n_extreme: int = 0
    explained_variance_of_all: float | None = None
    cosine_of_all: float | None = None

    def document(self) -> dict[str, float | int | None]:
        return asdict(self)

    def warning(self, expected_l0: float | None) -> str | None:
        """Say in plain words what looks wrong; None if nothing does."""
        explained, n_judged = self.explained_variance, self.n_sampled - self.n_extreme
        if explained is not None and explained < POOR and n_judged >= N_TELLING:
            return (
                "this does not look like the right SAE for these activations: it explains"
                f" {explained:.0%} of their variance, where 60 % to 99 % is usual."
                " Another layer, hook or model, or another normalisation?"
            )
        l0 = self.mean_l0 if self.sampled_l0 is None else self.sampled_l0
        if expected_l0 and n_judged >= N_TELLING_L0 and not expected_l0 / 4 <= l0 <= expected_l0 * 4:
            return f"{l0:.0f} features a token are active, where this SAE was trained for {expected_l0:.0f}"
        return None

    def in_words(self) -> str:
        """Say what is explained, with and without the rows of extreme norm; "" where nothing can be said."""
        if self.explained_variance is None:
            return ""
        said = f"explains {self.explained_variance:.1%} of the variance"
        of_all = self.explained_variance_of_all
        return said if of_all is None else f"{said} ({of_all:.1%} with the {self.n_extreme:,} rows of extreme norm)"

    def remark(self) -> str | None:
        """Say that the rows of extreme norm make another figure than all others; None where they do not."""
        figures = self.explained_variance, self.explained_variance_of_all
        if figures[0] is None or figures[1] is None or abs(figures[0] - figures[1]) < TELLING:
            return None
        return (
            f"{self.n_extreme:,} of {self.n_sampled:,} sampled rows have norms over {EXTREME:g} times the median, as"
            f" attention sinks have: {figures[0]:.1%} of the variance is explained without them, {figures[1]:.1%} with"
            f" them. To leave such rows out of every figure: --exclude-first 1, or --exclude-norm {EXTREME:g}"
        )


class Sample:
    """Collects rows of a shard as batches go by, and scores them at the end.

    Of the rows that may be sampled it keeps all, then every second, every fourth and so on: whenever N_SAMPLE are too
    few for them, every other one goes. So of many rows at least half of N_SAMPLE are kept.
    """

    def __init__(self, sae: LoadedSae) -> None:
        self._sae = sae
        self._step = 1
        self._rows: list[torch.Tensor] = []
        self._features: list[Csr] = []
        self._n_kept = self._n_rows = self._nnz = 0

    def add(self, x: torch.Tensor, features: Csr, counts: Bool | None = None) -> None:
        """Take this batch's share: x [T, D] as read, features its CSR [T, F]; of those rows that count, bool [T]."""
        judged = ~zero_rows(x)
        if counts is not None:
            judged &= counts
        rows = np.flatnonzero(judged)
        taken = rows[-self._n_rows % self._step :: self._step]
        self._n_rows += len(rows)
        self._nnz += int((features.indptr[1:] - features.indptr[:-1])[rows].sum())
        if len(taken):
            self._rows.append(x[torch.from_numpy(taken)])
            self._features.append(features.take(taken))
            self._n_kept += len(taken)
            self._thin()

    def _thin(self) -> None:
        while self._n_kept > N_SAMPLE:
            features = Csr.concatenate(self._features, self._sae.d_sae)
            self._rows = [torch.cat(self._rows)[::2]]
            self._features = [features.take(np.arange(0, self._n_kept, 2))]
            self._n_kept, self._step = len(self._rows[0]), 2 * self._step

    def score(self) -> Quality:
        mean_l0 = round(self._nnz / self._n_rows, 4) if self._n_rows else 0.0
        if self._n_kept < 2:
            return Quality(self._n_kept, mean_l0)
        x, features = torch.cat(self._rows), Csr.concatenate(self._features, self._sae.d_sae)
        truth = x.double()
        norms = truth.norm(dim=1)
        is_usual = norms <= EXTREME * norms.median()
        l0 = torch.from_numpy(np.diff(features.indptr))[is_usual].double().mean()
        n_extreme = int((~is_usual).sum())
        if not self._sae.rebuilds:
            return Quality(self._n_kept, mean_l0, sampled_l0=_figure(l0), n_extreme=n_extreme)
        rebuilt = self._sae.decode(x, features).cpu().double()
        figures = _explained(truth[is_usual], rebuilt[is_usual])
        of_all = _explained(truth, rebuilt) if n_extreme else (None, None)
        return Quality(self._n_kept, mean_l0, *figures, _figure(l0), n_extreme, *of_all)


def _explained(truth: torch.Tensor, rebuilt: torch.Tensor) -> tuple[float | None, float | None]:
    """Return explained variance and mean cosine of rows [T, D] float64 and what was made of them."""
    spread = (truth - truth.mean(dim=0)).square().sum()
    is_telling = len(truth) > 1 and spread > EQUAL * truth.square().sum()
    explained = 1 - (truth - rebuilt).square().sum() / spread if is_telling else torch.tensor(torch.nan)
    cosine = torch.nn.functional.cosine_similarity(truth, rebuilt, dim=1).mean()
    return _figure(explained), _figure(cosine)


def _figure(value: torch.Tensor) -> float | None:
    """Round to four places, as the last bits of a sum depend on the number of threads; None for what is not finite."""
    return round(float(value), 4) if value.isfinite() else None
