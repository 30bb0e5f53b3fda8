"""What is odd about a shard's rows, found as its batches go by: rows of zeros, and long runs of identical rows.

Both are what is left where a program did not write: the end of a preallocated file, a buffer that was saved again and
again. Such rows are encoded as any others, so a person has to be told. Rows that do not count are no cause for remarks.
"""

from __future__ import annotations

import numpy as np
import torch

from encoder.arrays import I64, Bool
from encoder.machine.repeats import repeated_rows, zero_rows

LONG_RUN = 16
"""Identical rows, one after the other, from which on they are told of."""


class Oddities:
    """Looks at all rows of a shard, batch by batch in order; batches of any size give the same remarks."""

    def __init__(self) -> None:
        self._n_rows = self._n_zero = self._n_last_zero = 0
        self._before: tuple[torch.Tensor, bool] | None = None  # the row before, and whether it counts
        self._run_start = self._n_runs = self._n_in_runs = 0
        self._longest = (0, 0)

    def add(self, x: torch.Tensor, counts: Bool) -> None:
        """Take the next rows x [T, D], T > 0; `counts` bool [T] says which of them count."""
        is_zero = zero_rows(x) & counts
        others = np.flatnonzero(~is_zero)
        self._n_zero += int(is_zero.sum())
        self._n_last_zero = len(x) - 1 - int(others[-1]) if len(others) else self._n_last_zero + len(x)
        repeats = self._repeats(x, counts) & ~is_zero
        self._end_runs(self._n_rows + np.flatnonzero(~repeats))
        self._n_rows += len(x)
        self._before = x[-1:].clone(), bool(counts[-1])

    def _repeats(self, x: torch.Tensor, counts: Bool) -> Bool:
        """Say which rows equal the row before them, where both count."""
        row, counted = (x[:1], False) if self._before is None else self._before
        found: Bool = repeated_rows(x, row) & counts & np.append(counted, counts[:-1])
        return found

    def _end_runs(self, rows: I64) -> None:
        """Note that each of `rows` is another one than the row before, so that a run ends there."""
        edges = np.append(self._run_start, rows)
        lengths = np.diff(edges)
        for at in np.flatnonzero(lengths >= LONG_RUN).tolist():
            length = int(lengths[at])
            self._n_runs, self._n_in_runs = self._n_runs + 1, self._n_in_runs + length
            if length > self._longest[0]:
                self._longest = length, int(edges[at])
        self._run_start = int(edges[-1])

    def remarks(self) -> list[str]:
        """Say what is odd, with numbers; to be called once, at the end."""
        self._end_runs(np.array([self._n_rows]))
        of_all, said = f"of {self._n_rows:,} rows", []
        if self._n_zero:
            last = f", among them the last {self._n_last_zero:,}" if self._n_last_zero else ""
            guess = ": was the end of the file never written?" if self._n_last_zero > 1 else ""
            said.append(f"{self._n_zero:,} {of_all} are all zeros{last}{guess}")
        if self._n_runs:
            length, start = self._longest
            runs = f"{self._n_runs:,} {'run' if self._n_runs == 1 else 'runs'} of {LONG_RUN} or more identical rows"
            said.append(f"{self._n_in_runs:,} {of_all} are in {runs}, the longest {start:,} to {start + length - 1:,}")
        return said
