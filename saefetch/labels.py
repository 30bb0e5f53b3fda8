"""The Python API: an SAE's labels, read from its store as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import orjson

from saefetch import search as full_text
from saefetch.errors import StoreError
from saefetch.explanations import Explanation
from saefetch.extras import needs
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, sae_folder
from saefetch.store.records import Record
from saefetch.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Explanation", "Hit", "Label", "Labels", "open_labels"]


@dataclass(frozen=True, slots=True)
class Label:
    """One feature. `description` is the published explanation, None where there is none.

    `explanations` holds all of them, the published one first. `max_activation` is the largest activation that
    Neuronpedia saw, `frac_nonzero` the share of its tokens on which the feature fires. `error` says why the feature is
    not there, None where it is.
    """

    index: int
    description: str | None
    explanations: tuple[Explanation, ...]
    top_positive_tokens: tuple[str, ...]
    top_negative_tokens: tuple[str, ...]
    max_activation: float | None
    frac_nonzero: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A search's result: the label and how well it matches, larger is better."""

    label: Label
    score: float
    marked: str
    """The label's texts, with U+0002 before and U+0003 after each matched word."""

    @property
    def index(self) -> int:
        return self.label.index

    @property
    def description(self) -> str | None:
        return self.label.description


class Labels(Sequence[Label]):
    """All labels of one SAE: `labels[42]`, `labels[10:20]`, `len(labels)`, iteration. Close them, or use a `with`.

    Not to be shared between threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._preference = full_text.stored_preference(store)
        self._d_sae = int(store.meta("num_features", 0))
        self.release = str(store.meta("release", ""))
        self.sae_id = str(store.meta("sae_id", ""))
        self.neuronpedia_id = str(store.meta("neuronpedia_id", ""))

    def __len__(self) -> int:
        return self._d_sae

    @overload
    def __getitem__(self, index: int) -> Label: ...

    @overload
    def __getitem__(self, index: slice) -> list[Label]: ...

    def __getitem__(self, index: int | slice) -> Label | list[Label]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return [self._label(record) for record in self._store.records(start, max(start, stop))]
            return [self[i] for i in range(start, stop, step)]
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"feature {index} is not among the {len(self):,} of {self.neuronpedia_id}")
        return self._label(self._store.record(i))

    def __iter__(self) -> Iterator[Label]:
        return (self._label(record) for record in self._store.records(0, len(self)))

    def pick(self, indices: Iterable[int]) -> dict[int, Label]:
        """Return the labels of these features, by feature: faster than one after the other.

        Raises: IndexError if one does not exist.
        """
        wanted = sorted(set(indices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"not all features are among the {len(self):,} of {self.neuronpedia_id}")
        return {record.index: self._label(record) for record in self._store.some_records(wanted)}

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Find labels by their words, the best first: `dogs`, a beginning `dog*`, a phrase `"hot dog"`.

        Raises: UsageError for a query without a word.
        """
        return [
            Hit(self[match.index], match.score, match.marked) for match in full_text.search(self._store, query, limit)
        ]

    def to_pandas(self) -> pd.DataFrame:
        """Return a frame with one row a feature, indexed by feature. Needs pandas."""
        with needs("pandas", "Labels.to_pandas"):
            import pandas as pd

        columns = (
            "description",
            "top_positive_tokens",
            "top_negative_tokens",
            "max_activation",
            "frac_nonzero",
            "error",
        )
        rows = [tuple(getattr(label, column) for column in columns) for label in self]
        return pd.DataFrame(rows, columns=list(columns), index=pd.RangeIndex(len(self), name="feature"))

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Labels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Labels of {self.release} {self.sae_id}: {len(self):,} features of {self.neuronpedia_id}>"

    def _label(self, record: Record) -> Label:
        ranked = self._preference.rank(record.explanations)
        return Label(
            index=record.index,
            description=ranked[0].text if ranked and not ranked[0].blank else None,
            explanations=tuple(ranked),
            top_positive_tokens=tuple(orjson.loads(record.positive)),
            top_negative_tokens=tuple(orjson.loads(record.negative)),
            max_activation=record.max_activation,
            frac_nonzero=record.frac_nonzero,
            error=record.error,
        )


def open_labels(data_dir: str | Path = "sae", release: str = DEFAULT_RELEASE, sae_id: str = DEFAULT_SAE_ID) -> Labels:
    """Open the labels that `saefetch download` put under `data_dir`; a download may still be running.

    Raises: StoreError where there are none, with the command that gets them.
    """
    folder = sae_folder(Path(data_dir), release, sae_id)
    if not (folder / FILE_NAME).is_file():
        raise StoreError(
            f"{folder}: no labels here; get them with:"
            f" saefetch download --sae-release {release} --sae-id {sae_id} --data-dir {data_dir}"
        )
    return Labels(Store.open_read_only(folder))
