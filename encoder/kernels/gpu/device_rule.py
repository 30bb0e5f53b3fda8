"""The SAE's rule on a device. Decisions too close for float64 are made on the CPU, so both give the same features.

A float64 value is off by at most `unit(D) (||x|| ||w|| + |b|)` (exact.py), in whatever order a device sums. A row is
open if one of its values is nearer than that to its threshold, or, with TopK, if the k-th largest value is nearer than
twice that to the next one. An open row goes to the CPU with its candidates, and `rule.Decider` marks them. Open rows
are rare; each tile waits once for the device to say whether it has any.

Shapes: T rows, D = d_in, n candidates by rows.
"""

from __future__ import annotations

import torch

from encoder.kernels.bound import ENLARGE
from encoder.kernels.candidates import Candidates
from encoder.kernels.exact import unit
from encoder.kernels.gpu.assemble import top_k
from encoder.kernels.rule import Decider
from encoder.sae.rules import Rule


class DeviceRule:
    """Says which candidates are active. `norms` (upper bounds), `b_enc` and `scale` are float64 [F] on the device."""

    def __init__(self, rule: Rule, device: torch.device) -> None:
        self._decider = Decider.of(rule, rule.W_enc.T)
        arrays = (self._decider.norms, self._decider.threshold, self._decider.b_enc, self._decider.scale)
        self.norms, self._threshold, self.b_enc, self.scale = (torch.from_numpy(array).to(device) for array in arrays)

    def decide(
        self, x: torch.Tensor, indptr: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the values to store, float64 [n], and which candidates are active, bool [n].

        x [T, D] f32; indptr [T + 1]; rows, columns [n] int; h [n] float64 is x.w + b.
        """
        rows, columns = rows.long(), columns.long()
        values, k = h * self.scale[columns], self._decider.k
        keep = values > self._threshold[columns] if k is None else top_k(indptr, rows, values, k)
        norms = torch.linalg.vector_norm(x.double(), dim=1) * ENLARGE
        is_open = self._open_rows(indptr, rows, columns, values, keep, norms)
        at = is_open[rows].nonzero()[:, 0]
        if len(at):
            starts = torch.zeros(len(x) + 1, dtype=torch.int64)
            torch.cumsum((indptr.diff() * is_open).cpu(), 0, out=starts[1:])
            candidates = Candidates(*(part.numpy() for part in (starts, columns[at].int().cpu(), h[at].cpu())))
            is_active = self._decider.mark(x.cpu().numpy(), norms.cpu().numpy(), candidates)
            values[at] = torch.from_numpy(candidates.values).to(values.device)
            keep[at] = torch.from_numpy(is_active).to(values.device)
        return values, keep

    def _open_rows(
        self,
        indptr: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        values: torch.Tensor,
        keep: torch.Tensor,
        norms: torch.Tensor,
    ) -> torch.Tensor:
        """Return which rows are open, bool [T]: float64 may decide wrongly in them."""
        product = norms[rows] * self.norms[columns]
        errors = (product + self.b_enc[columns].abs()) * self.scale[columns] * unit(self._decider.weights.shape[1])
        errors[(product == 0) & (self.scale[columns] == 1)] = 0  # then h is b itself
        is_open = torch.zeros(len(norms), dtype=torch.bool, device=rows.device)
        is_open[rows[(errors > 0) & ~((values - self._threshold[columns]).abs() > errors)]] = True
        if self._decider.k is not None:
            nothing = torch.full_like(norms, torch.inf)
            least = nothing.scatter_reduce(0, rows[keep], values[keep], "amin")
            next_one = (-nothing).scatter_reduce(0, rows[~keep], values[~keep], "amax")
            error = torch.zeros_like(norms).scatter_reduce(0, rows, errors, "amax")
            is_open |= (error > 0) & ~(least - next_one > 2 * error)
        return is_open
