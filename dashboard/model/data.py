"""Labels and features on disk, wherever the command was told they are, and whether they belong together.

The store of labels is opened for each request and closed after it: a connection is for one thread only, and a store
that stays open would keep a download that ends from folding its write-ahead log into the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dashboard.model.cache import Cache
from dashboard.model.corpus import Corpus
from dashboard.model.folder import FeaturesFolder
from dashboard.model.look import Look, Settings
from dashboard.model.tokens import Vocabulary
from encoder.errors import MismatchError
from encoder.labelled import check_same_sae
from saefetch.errors import UsageError
from saefetch.inventory import folders
from saefetch.labels import Labels
from saefetch.names.identity import sae_folder
from saefetch.store.store import FILE_NAME, Store

__all__ = ["Data", "Look", "Settings"]

KEPT_ANSWERS = 256


@dataclass(slots=True)
class Data:
    """Labels and features, wherever they are. Safe for several threads."""

    settings: Settings
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    folder: FeaturesFolder = field(init=False)
    _kept: Cache = field(init=False, default_factory=lambda: Cache(KEPT_ANSWERS))

    def __post_init__(self) -> None:
        self.folder = FeaturesFolder(self.settings.features)

    @contextmanager
    def look(self) -> Iterator[Look]:
        """Open what is there now. Raises: EncoderError, StoreError if it is damaged."""
        with ExitStack() as opened:
            corpus = self.folder.corpus()
            folder = self._labels_folder(corpus)
            labels, store, refusal = None, None, None
            if (folder / FILE_NAME).is_file():
                store = Store.open_read_only(folder)
                labels = opened.enter_context(Labels(store))
                refusal = _refusal(corpus, labels)
            if refusal:
                labels, store = None, None
            yield Look(self.settings, self.vocabulary, corpus, labels, store, folder, refusal, self._kept)

    def _labels_folder(self, corpus: Corpus | None) -> Path:
        """Return the folder of the named SAE, else of the features', else of the only one, else of the default one."""
        root = self.settings.data_dir
        if self.settings.named:
            return sae_folder(root, *self.settings.named)
        if folder := _sae_of(corpus, root):
            return folder
        there = list(folders(root))
        return there[0] if len(there) == 1 else sae_folder(root, *self.settings.default)


def _refusal(corpus: Corpus | None, labels: Labels) -> str | None:
    if corpus is None:
        return None
    key = "refusal", labels.release, labels.sae_id, labels.neuronpedia_id, len(labels)
    return corpus.kept.get(key, lambda: _why_not(corpus, labels))


def _sae_of(corpus: Corpus | None, root: Path) -> Path | None:
    """Return the folder of the labels of the features' SAE, None if it is not there."""
    meta: dict[str, Any] = corpus.features.meta[0] if corpus is not None and corpus.features.meta else {}
    release, sae_id = meta.get("sae_release"), meta.get("sae_id")
    if not isinstance(release, str) or not isinstance(sae_id, str):
        return None
    try:
        folder = sae_folder(root, release, sae_id)
    except UsageError:  # a name that cannot be a folder
        return None
    return folder if (folder / FILE_NAME).is_file() else None


def _why_not(corpus: Corpus, labels: Labels) -> str | None:
    try:
        check_same_sae(corpus.features, labels)
    except MismatchError as exc:
        return str(exc)
    return None
