"""What is looked at: labels and features on disk, and whether they belong together.

A request takes one `Look`: the features as they are at that moment, and the labels that may be shown beside them. The
store of labels is opened for each and closed after it, as a connection is for one thread only, and an open one would
keep a download that ends from folding its write-ahead log into the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dashboard.errors import NotFoundError, NotReadyError
from dashboard.model.cache import Cache
from dashboard.model.corpus import Corpus
from dashboard.model.folder import FeaturesFolder
from dashboard.model.tokens import Vocabulary
from encoder.errors import MismatchError
from encoder.labelled import check_same_sae
from saefetch.errors import UsageError
from saefetch.inventory import folders
from saefetch.labels import Label, Labels
from saefetch.names.identity import sae_folder
from saefetch.store.store import FILE_NAME, Store

KEPT_ANSWERS = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command was told. `named` is the SAE whose labels are meant, `default` the one to take otherwise."""

    data_dir: Path
    features: Path
    default: tuple[str, str]
    named: tuple[str, str] | None = None
    queue: Path | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One request's view of the data. `labels` and their `store` are None where there are none to show (`refusal`)."""

    settings: Settings
    vocabulary: Vocabulary
    corpus: Corpus | None
    labels: Labels | None
    store: Store | None
    labels_folder: Path
    refusal: str | None
    kept: Cache

    @property
    def features(self) -> Corpus:
        """Raises: NotFoundError where there are no features."""
        if self.corpus is None:
            raise NotFoundError(f"no features in {self.settings.features} yet; {self.encode_command} makes them")
        return self.corpus

    @property
    def encode_command(self) -> str:
        return shlex.join(["sae-encode", "run", "ACTIVATIONS", "--out", str(self.settings.features)])

    @property
    def download_command(self) -> str:
        names = self.settings.named or self.settings.default
        if self.corpus is not None and self.corpus.features.meta:
            meta = self.corpus.features.meta[0]
            if isinstance(meta.get("sae_release"), str) and isinstance(meta.get("sae_id"), str):
                names = meta["sae_release"], meta["sae_id"]
        flags = ["--sae-release", names[0], "--sae-id", names[1], "--data-dir", str(self.settings.data_dir)]
        return shlex.join(["saefetch", "download", *flags])

    @property
    def index_command(self) -> str:
        return shlex.join(["sae-encode", "index", str(self.settings.features)])

    def need_index(self) -> NotReadyError:
        return NotReadyError(f"this needs the index by feature; make it: {self.index_command}")

    @property
    def d_sae(self) -> int:
        """Return the SAE's width, 0 where nothing says it."""
        if self.corpus is not None:
            return self.corpus.d_sae
        return len(self.labels) if self.labels is not None else 0

    def check_feature(self, index: int) -> int:
        """Raises: NotFoundError unless there is such a feature."""
        if not 0 <= index < self.d_sae:
            raise NotFoundError(f"feature {index} does not exist: there are {self.d_sae:,}, counted from 0")
        return index

    def pick(self, indices: Iterable[int]) -> dict[int, Label]:
        """Return the labels of these features; none where there are no labels to be shown."""
        return {} if self.labels is None else self.labels.pick(indices)

    @property
    def neuronpedia(self) -> str | None:
        """Return the address of the SAE's page."""
        name = self.labels.neuronpedia_id if self.labels is not None else None
        if name is None and self.corpus is not None and self.corpus.features.meta:
            name = self.corpus.features.meta[0].get("neuronpedia_id")
        return f"https://www.neuronpedia.org/{quote(name)}" if isinstance(name, str) and name else None


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
        if own := _sae_of(corpus, root):
            return own
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
