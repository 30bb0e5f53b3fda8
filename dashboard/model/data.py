"""Labels and features on disk, wherever the command was told they are, and whether they belong together.

The store of labels is opened for each request and closed after it: a connection is for one thread only, and a store
that stays open would keep a download that ends from folding its write-ahead log into the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
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
from saefetch.errors import StoreError, UsageError
from saefetch.inventory import folders
from saefetch.labels import Labels
from saefetch.names.identity import sae_folder
from saefetch.store.store import FILE_NAME, Store

__all__ = ["Data", "Look", "Settings"]

KEPT_ANSWERS = 256


@dataclass(slots=True)
class Data:
    """Labels and features, wherever they are. Safe for several threads. `siblings` are all SAEs, by their names."""

    settings: Settings
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    siblings: Mapping[str, Data] = field(default_factory=dict)
    folder: FeaturesFolder = field(init=False)
    _kept: Cache = field(init=False, default_factory=lambda: Cache(KEPT_ANSWERS))

    def __post_init__(self) -> None:
        self.folder = FeaturesFolder(self.settings.features, index=self.settings.index)

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
        """Return the folder of the labels to show; there may be none in it yet.

        It is that of the SAE that was named, else of the features' SAE by its names, else by its Neuronpedia id. Where
        the features' SAE has no labels here, the only labels are taken, to be refused in words; of several none is.
        """
        root = self.settings.data_dir
        if self.settings.named:
            return sae_folder(root, *self.settings.named)
        own = _folder_of(corpus, root)
        if own is not None and (own / FILE_NAME).is_file():
            return own
        there = list(folders(root))
        if same := [folder for folder in there if self._is_of(folder, corpus)]:
            return same[0]
        if len(there) == 1:
            return there[0]
        return sae_folder(root, *self.settings.default) if own is None else own

    def _is_of(self, folder: Path, corpus: Corpus | None) -> bool:
        """Say whether the labels in `folder` have the Neuronpedia id of the features."""
        wanted = _meta(corpus).get("neuronpedia_id")
        if not wanted:
            return False

        def find() -> str:
            with closing(Store.open_read_only(folder)) as store:
                return str(store.meta("neuronpedia_id", ""))

        try:
            version = (folder / FILE_NAME).stat().st_ino
            return bool(self._kept.get(("neuronpedia_id", folder), find, version) == wanted)
        except (OSError, StoreError):  # removed meanwhile, or damaged: then they are not known to be of this SAE
            return False


def _refusal(corpus: Corpus | None, labels: Labels) -> str | None:
    if corpus is None:
        return None
    key = "refusal", labels.release, labels.sae_id, labels.neuronpedia_id, len(labels)
    return corpus.kept.get(key, lambda: _why_not(corpus, labels))


def _meta(corpus: Corpus | None) -> dict[str, Any]:
    return corpus.features.meta[0] if corpus is not None and corpus.features.meta else {}


def _folder_of(corpus: Corpus | None, root: Path) -> Path | None:
    """Return where the labels of the features' SAE belong by its names, None where it has none."""
    release, sae_id = (_meta(corpus).get(name) for name in ("sae_release", "sae_id"))
    if not isinstance(release, str) or not isinstance(sae_id, str):
        return None
    try:
        return sae_folder(root, release, sae_id)
    except UsageError:  # a name that cannot be a folder
        return None


def _why_not(corpus: Corpus, labels: Labels) -> str | None:
    try:
        check_same_sae(corpus.features, labels)
    except MismatchError as exc:
        return str(exc)
    return None
