"""How far one job is, for the progress display, and the counts of its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Set

from saefetch.store.answers import Answers
from saefetch.terminal.progress import Display


class Tally:
    """Counts answers about the features `scope` of `d_sae`, of which `n_open` are not accounted for yet.

    Nothing has to be fetched of the features `here`, also where an object of the export brings them again.
    """

    def __init__(
        self, display: Display, name: str, d_sae: int, scope: range, n_open: int, here: Set[int] = frozenset()
    ) -> None:
        self._display, self._name = display, name
        self.n_open = n_open
        self._n_asked = len(scope)
        self._n_done = self._n_asked - n_open
        self._export_bytes = self._export_bytes_read = 0
        self._arrived = bytearray(d_sae)
        self.fetched = bytearray(d_sae)
        """Marks the features of which this run committed something that was not here."""
        self._was_here = here
        self.n_repaired = self.n_ignored = 0

    def expect_export(self, n_bytes: int) -> None:
        """More of the export is to be read: that many compressed bytes."""
        self._export_bytes = self._export_bytes_read + n_bytes

    def arrived(self, answers: Answers) -> None:
        """Show an answer. The export's progress is that of its bytes, as its features come before their labels."""
        here = self._arrived
        for index in _closed(answers):
            self._n_done += not here[index]
            here[index] = 1
        n_shown = min(self._n_done, self._n_asked)
        if answers.export_object is not None:
            self._export_bytes_read += answers.export_object.size
            n_shown = self._n_asked * self._export_bytes_read // max(1, self._export_bytes)
        self._display.advance(self._name, n_shown)

    def committed(self, answers: Answers) -> None:
        """Count an answer that is in the store now."""
        self.mark(_closed(answers))
        self.mark(explanation[0] for explanation in answers.rows.explanations)
        self.n_repaired += answers.rows.repaired
        self.n_ignored += answers.rows.ignored

    def mark(self, indices: Iterable[int]) -> None:
        for index in indices:
            self.fetched[index] = index not in self._was_here

    @property
    def notes(self) -> list[str]:
        """Return remarks about the answers, for the user."""
        notes = []
        if self.n_repaired:
            notes.append(f"{self.n_repaired:,} answers or lines held malformed JSON and were repaired")
        if self.n_ignored:
            notes.append(f"{self.n_ignored:,} rows were not of these features, or beyond repair, and were left out")
        return notes


def _closed(answers: Answers) -> list[int]:
    return [row[0] for row in answers.rows.features] + answers.missing
