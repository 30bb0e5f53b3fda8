"""What is on its way while a shard is encoded: the rows of one place, and the features that SAEs make of them.

    shard (a file)  -> Stream: rows of one place, such as one layer   -> Task: one SAE -> a file of features
                                                                      -> Task: another SAE at the same place
                    -> Stream: rows of another layer                  -> Task

One SAE is one stream with one task. A stream that turns out to be no good, or a task whose features cannot be written,
has an `error` and stops no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from encoder.arrays import Bool
from encoder.errors import ShardError
from encoder.file.csr import Csr, CsrWriter
from encoder.kernels import Kernel
from encoder.sae.quality import Quality, Sample
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard
from encoder.work.counting import Counted
from encoder.work.remarks import Oddities


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was found out of a shard: rows that do not count by reason, and the number of values of those that do.

    `remarks` are sentences for the user, on what is odd about the rows.
    """

    n_rows: int
    nnz: int
    excluded: dict[str, int]
    nnz_counted: int
    quality: Quality
    remarks: tuple[str, ...]

    @property
    def n_counted(self) -> int:
        return self.n_rows - sum(self.excluded.values())

    @property
    def mean_l0(self) -> float:
        """Active features a row, of the rows that count."""
        return self.nnz_counted / max(1, self.n_counted)


class Task:
    """The features that one SAE makes of a stream. `notes` are of how the stream was chosen.

    At the end it has `encoded`, or `error`.
    """

    def __init__(self, sae: LoadedSae, kernel: Kernel, writer: CsrWriter, notes: Sequence[str] = ()) -> None:
        self.sae, self.kernel, self.writer, self.notes = sae, kernel, writer, tuple(notes)
        self.sample = Sample(sae)
        self.nnz_counted = 0
        self.written: Future[None] | None = None
        self.encoded: Encoded | None = None
        self.error: ShardError | None = None

    def add(self, x: torch.Tensor, features: Csr, counts: Bool) -> None:
        """Take the features of the next rows x; those of rows that count are counted."""
        self.sample.add(x, features, counts)
        self.nnz_counted += int(np.diff(features.indptr)[counts].sum())


class Stream:
    """The rows of one place in a shard, and the tasks that share their reading."""

    counted: Counted
    """Which of the rows count; known once they are looked at."""

    def __init__(self, shard: Shard, tasks: Sequence[Task]) -> None:
        self.shard, self.tasks = shard, list(tasks)
        self.oddities = Oddities()
        self.n_unsound = 0

    @property
    def live(self) -> list[Task]:
        """Return the tasks that nothing is wrong with."""
        return [task for task in self.tasks if task.error is None]

    @cached_property
    def remarks(self) -> list[str]:
        """Say what is odd about the rows, once all were looked at."""
        return self.oddities.remarks()
