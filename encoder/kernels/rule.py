"""The SAE's rule applied to candidates: which of them are active, in exact arithmetic.

The float64 value and its error bound settle nearly every candidate. The other candidates are settled with fractions;
the value of such a candidate is then its exact value, rounded once. So a feature that is active by less than float64
can distinguish still gets a positive value.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from encoder.arrays import F32, F64, I32, I64, U8, Bool
from encoder.file.csr import Csr
from encoder.kernels.bound import ENLARGE, column_norms
from encoder.kernels.candidates import Candidates
from encoder.kernels.exact import exact_h, unit
from encoder.machine.compiled import compiled
from encoder.sae.rules import Rule

_OFF, _ON, _UNSURE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Decider:
    """A `Rule` as arrays: weights float32 [F, D]; b_enc, threshold, scale and norms float64 [F].

    `norms` are upper bounds of the norms of the weights' rows.
    """

    weights: F32
    b_enc: F64
    threshold: F64
    scale: F64
    norms: F64
    k: int | None

    @classmethod
    def of(cls, rule: Rule, weights: torch.Tensor) -> Decider:
        """Take a rule's arrays: weights [F, D] is its W_enc, transposed."""
        b_enc, threshold = rule.b_enc.double().numpy(), rule.threshold.double().numpy()
        scale = np.ones(len(b_enc)) if rule.scale is None else rule.scale.double().numpy()
        if weights.is_contiguous():
            norms = np.empty(len(weights))
            _norms(weights.numpy(), norms)
            norms *= ENLARGE
        else:
            norms = column_norms(weights.T).numpy()
        return cls(weights.numpy(), b_enc, threshold, scale, norms, rule.k)

    def decide(self, x: F32, row_norms: F64, candidates: Candidates) -> Csr:
        """Return the active candidates: x float32 [T, D]; row_norms float64 [T] are upper bounds of its rows' norms.

        The candidates' values are h = x.w + b.
        """
        is_active = self.mark(x, row_norms, candidates)
        indptr, indices, values = candidates.indptr, candidates.indices, candidates.values
        return Csr.of_kept(indptr, indices, values, is_active, len(self.b_enc))

    def mark(self, x: F32, row_norms: F64, candidates: Candidates) -> Bool:
        """Return which candidates are active, bool [nnz]. Their values are replaced in place by the values to store."""
        indptr, indices, values = candidates.indptr, candidates.indices, candidates.values
        errors = np.empty(len(values))
        _scale(indptr, indices, row_norms, self.norms, self.b_enc, self.scale, unit(x.shape[1]), values, errors)
        state = np.empty(len(values), np.uint8)
        if self.k is None:
            _reaching(indices, values, errors, self.threshold, state)
            for c in np.flatnonzero(state == _UNSURE).tolist():
                h = self._exact(x, candidates, c)
                state[c], values[c] = h > Fraction(self.threshold[indices[c]]), float(h)
        else:
            unsure_rows = np.zeros(len(indptr) - 1, np.bool_)
            _largest(indptr, values, errors, self.k, state, unsure_rows)
            for t in np.flatnonzero(unsure_rows):
                self._decide_row(x, candidates, slice(indptr[t], indptr[t + 1]), errors, state)
        is_active: Bool = state == _ON
        return is_active

    def _exact(self, x: F32, candidates: Candidates, c: int) -> Fraction:
        t = int(np.searchsorted(candidates.indptr, c, side="right")) - 1
        j = candidates.indices[c]
        return exact_h(x[t], self.weights[j], float(self.b_enc[j])) * Fraction(self.scale[j])

    def _decide_row(self, x: F32, candidates: Candidates, row: slice, errors: F64, state: U8) -> None:
        """Choose a row's k largest where float64 does not settle it: candidates in doubt are compared exactly."""
        assert self.k is not None
        values, error = candidates.values, 2 * errors[row].max()
        order = np.sort(values[row])[::-1]
        in_doubt, chosen = [], []
        for c in range(row.start, row.stop):
            if len(order) > self.k and values[c] <= order[self.k] + error:
                if values[c] >= order[self.k - 1] - error:
                    in_doubt.append(c)
            else:
                chosen.append(c)
        exact = {c: self._exact(x, candidates, c) for c in in_doubt}
        chosen += sorted(in_doubt, key=lambda c: (-exact[c], c))[: self.k - len(chosen)]
        state[row] = _OFF
        for c in chosen:
            if c in exact or values[c] <= error:
                h = exact.get(c) or self._exact(x, candidates, c)
                values[c], state[c] = float(h), h > 0
            else:
                state[c] = _ON


@compiled(fastmath={"reassoc", "contract"})
def _norms(weights: F32, norms: F64) -> None:
    for j in range(len(norms)):
        total = 0.0
        for i in range(weights.shape[1]):
            total += np.float64(weights[j, i]) * np.float64(weights[j, i])
        norms[j] = np.sqrt(total)


@compiled()
def _scale(
    indptr: I64,
    indices: I32,
    row_norms: F64,
    norms: F64,
    b_enc: F64,
    scale: F64,
    unit: float,
    values: F64,
    errors: F64,
) -> None:
    """Multiply each value by its feature's scale, and write down the largest error that the value can have."""
    for t in range(len(indptr) - 1):
        for c in range(indptr[t], indptr[t + 1]):
            j = indices[c]
            values[c] *= scale[j]
            product = row_norms[t] * norms[j]
            is_exact = product == 0 and scale[j] == 1  # then h is b itself
            errors[c] = 0.0 if is_exact else unit * (product + abs(b_enc[j])) * scale[j]


@compiled()
def _reaching(indices: I32, values: F64, errors: F64, threshold: F64, state: U8) -> None:
    for c in range(len(indices)):
        above = values[c] - threshold[indices[c]]
        state[c] = _UNSURE if 0 < errors[c] >= abs(above) else _ON if above > 0 else _OFF


@compiled()
def _largest(indptr: I64, values: F64, errors: F64, k: int, state: U8, unsure_rows: Bool) -> None:
    """Mark the positive ones among each row's k largest, and mark the rows where float64 does not settle which."""
    for t in range(len(indptr) - 1):
        start, stop = indptr[t], indptr[t + 1]
        state[start:stop] = _OFF
        if start == stop:
            continue
        order = np.argsort(-values[start:stop], kind="mergesort")
        error = 2 * errors[start:stop].max()
        if stop - start > k > 0 and 0 < error >= values[start + order[k - 1]] - values[start + order[k]]:
            unsure_rows[t] = True
        for c in order[:k]:
            if 0 < error >= abs(values[start + c]):
                unsure_rows[t] = True
            state[start + c] = _ON if values[start + c] > 0 else _OFF
