"""Is it the right SAE? A sample of rows is decoded from its sparse features and compared with what went in.

Activations of another layer, hook or model, or normalised differently, cannot be rebuilt: explained variance then is
near or below zero. The sample is drawn from the rows that count and are not all zeros, by lot. The lot of a row is made
of its number among these rows alone, so it depends neither on the batches nor on the rows that do not count. Every n-th
row would not do: where texts have 128 tokens, every 256th row is the first token of a text, which is an attention sink.

Attention sinks are rows of many times the usual norm, which no SAE was trained to rebuild, and one of them outweighs
thousands of other rows. So the figures that are judged leave rows of extreme norm out, and the figures with them are
kept beside. Where most rows are padding that nobody marked, or noise, it is these that are of usual norm. So there is
no warning either where many single rows are explained well: those of wrong activations never are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from encoder.arrays import U64, Bool
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
EXPLAINED = 0.5
"""Of the square of a row's distance from the mean, from which on this one row is explained well."""
MANY = 0.2
"""Share of rows that are explained well from which on it is the right SAE, whatever the other rows are."""
FEW = 0.1
"""Share of rows up to which those of extreme norm are attention sinks; more of them are another kind of text."""
POOR = 0.3
"""Explained variance below which something is wrong: trained SAEs reach 0.6 to 0.99 on their own activations."""
TELLING = 0.05
"""Between explained variance with and without rows of extreme norm, from which on they are told of."""

_HIGHEST = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the SAE rebuilds `n_sampled` rows. The `n_extreme` rows of extreme norm are left out unless it says all.

    `explained_variance` is 1 - sum |x - x'|^2 / sum |x - mean|^2, `cosine` the mean over rows. Both are None where the
    SAE does not rebuild its input (a transcoder) or nothing can be said (fewer than 2 rows, or all equal). `mean_l0` is
    that of all rows that count and are not zeros, `sampled_l0` that of the sample. `well_explained` is the share of
    sampled rows, those of extreme norm too, that are explained well. The figures of all are None where no norm is
    extreme.
    """

    n_sampled: int
    mean_l0: float
    explained_variance: float | None = None
    cosine: float | None = None
    sampled_l0: float | None = None
    n_extreme: int = 0
    explained_variance_of_all: float | None = None
    cosine_of_all: float | None = None
    well_explained: float | None = None

    def document(self) -> dict[str, float | int | None]:
        return asdict(self)

    @property
    def is_poor(self) -> bool:
        """Say whether too little is explained of the rows of usual norm."""
        explained, n_judged = self.explained_variance, self.n_sampled - self.n_extreme
        return explained is not None and explained < POOR and n_judged >= N_TELLING

    @property
    def has_many_of_its_own(self) -> bool:
        """Say whether so many single rows are explained well that it is the right SAE for these."""
        return self.well_explained is not None and self.well_explained >= MANY

    def warning(self, expected_l0: float | None) -> str | None:
        """Say in plain words what looks wrong; None if nothing does."""
        if self.is_poor and self.has_many_of_its_own:
            return None  # `remark` says that the rows are of several kinds
        if self.is_poor:
            return (
                "this does not look like the right SAE for these activations: it explains"
                f" {self.explained_variance:.0%} of their variance, where 60 % to 99 % is usual."
                " Another layer, hook or model, or another normalisation?"
            )
        l0 = self.mean_l0 if self.sampled_l0 is None else self.sampled_l0
        found = [l0, self.mean_l0] if self.n_extreme > FEW * self.n_sampled else [l0]
        is_far = expected_l0 and not any(expected_l0 / 4 <= one <= expected_l0 * 4 for one in found)
        if is_far and self.n_sampled - self.n_extreme >= N_TELLING_L0:
            return f"{l0:.0f} features a token are active, where this SAE was trained for {expected_l0:.0f}"
        return None

    def in_words(self) -> str:
        """Say what is explained, with and without the rows of extreme norm; "" where nothing can be said."""
        if self.explained_variance is None:
            return ""
        said = f"explains {self.explained_variance:.1%} of the variance"
        of_all = self.explained_variance_of_all
        rows = "row" if self.n_extreme == 1 else f"{self.n_extreme:,} rows"
        return said if of_all is None else f"{said} ({of_all:.1%} with the {rows} of extreme norm)"

    def remark(self) -> str | None:
        """Say that the rows are of several kinds, or that some of extreme norm change the figure; None where not."""
        explained, of_all = self.explained_variance, self.explained_variance_of_all
        if self.is_poor and self.has_many_of_its_own:
            return (
                f"{explained:.1%} of the variance of rows of usual norm is explained, but {self.well_explained:.0%} of"
                f" {self.n_sampled:,} sampled rows are explained well: are the others padding that no mask marks? To"
                " leave rows out of every figure: an attention_mask beside the activations, or --exclude-tokens ID"
            )
        if explained is None or of_all is None or abs(explained - of_all) < TELLING:
            return None
        have = "has a norm" if self.n_extreme == 1 else "have norms"
        which = ", as attention sinks have" if self.n_extreme <= FEW * self.n_sampled else ""
        return (
            f"{self.n_extreme:,} of {self.n_sampled:,} sampled rows {have} over {EXTREME:g} times the"
            f" median{which}: {explained:.1%} of the variance is explained without them, {of_all:.1%} with them. To"
            f" leave such rows out of every figure: --exclude-first 1, or --exclude-norm {EXTREME:g}"
        )


class Sample:
    """Collects rows of a shard as batches go by, and scores them at the end.

    Of the rows that may be sampled it keeps the N_SAMPLE with the lowest lots, or all if they are fewer.
    """

    def __init__(self, sae: LoadedSae) -> None:
        self._sae = sae
        self._limit = _HIGHEST
        self._lots: list[U64] = []
        self._rows: list[torch.Tensor] = []
        self._features: list[Csr] = []
        self._n_kept = self._n_rows = self._nnz = 0

    def add(self, x: torch.Tensor, features: Csr, counts: Bool | None = None) -> None:
        """Take this batch's share: x [T, D] as read, features its CSR [T, F]; of those rows that count, bool [T]."""
        judged = ~zero_rows(x)
        if counts is not None:
            judged &= counts
        rows = np.flatnonzero(judged)
        lots = _lots(self._n_rows, len(rows))
        self._n_rows += len(rows)
        self._nnz += int((features.indptr[1:] - features.indptr[:-1])[rows].sum())
        drawn = np.flatnonzero(lots <= min(self._limit, _limit_of(lots)))
        if len(drawn):
            taken = rows[drawn]
            self._lots.append(lots[drawn])
            self._rows.append(x[torch.from_numpy(taken)])
            self._features.append(features.take(taken))
            self._n_kept += len(taken)
            if self._n_kept > 2 * N_SAMPLE:
                self._thin()

    def _thin(self) -> None:
        """Let go of all but the N_SAMPLE rows with the lowest lots; rows stay in order."""
        lots, rows = np.concatenate(self._lots), torch.cat(self._rows)
        features = Csr.concatenate(self._features, self._sae.d_sae)
        if len(lots) > N_SAMPLE:
            self._limit = _limit_of(lots)
            kept = np.flatnonzero(lots <= self._limit)
            lots, rows, features = lots[kept], rows[torch.from_numpy(kept)], features.take(kept)
        self._lots, self._rows, self._features, self._n_kept = [lots], [rows], [features], len(lots)

    def score(self) -> Quality:
        mean_l0 = round(self._nnz / self._n_rows, 4) if self._n_rows else 0.0
        if self._n_kept < 2:
            return Quality(self._n_kept, mean_l0)
        self._thin()
        (x,), (features,) = self._rows, self._features
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
        share = _well_explained(truth, rebuilt, truth[is_usual].mean(dim=0))
        return Quality(self._n_kept, mean_l0, *figures, _figure(l0), n_extreme, *of_all, share)


def _lots(first: int, n: int) -> U64:
    """Return the lots of the rows [first, first + n): uint64 [n], as SplitMix64 scatters their numbers."""
    z = np.arange(first, first + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    lots: U64 = z ^ (z >> np.uint64(31))
    return lots


def _limit_of(lots: U64) -> np.uint64:
    """Return the highest of the N_SAMPLE lowest lots, which are never equal; the highest lot there is of fewer."""
    return np.uint64(np.partition(lots, N_SAMPLE - 1)[N_SAMPLE - 1]) if len(lots) > N_SAMPLE else _HIGHEST


def _well_explained(truth: torch.Tensor, rebuilt: torch.Tensor, mean: torch.Tensor) -> float | None:
    """Return the share of rows [T, D] that are explained well, each measured from `mean` or from zero, the nearer."""
    spread = torch.minimum((truth - mean).square().sum(dim=1), truth.square().sum(dim=1))
    is_well = (truth - rebuilt).square().sum(dim=1) <= (1 - EXPLAINED) * spread
    return _figure((is_well & (spread > EQUAL * truth.square().sum(dim=1))).double().mean())


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
