"""One request's view of the data: the features as they are now, and the labels that may stand beside them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from dashboard.errors import NotFoundError, NotReadyError
from dashboard.model.cache import Cache
from dashboard.model.corpus import Corpus
from dashboard.model.documents import Document
from dashboard.model.places import Places, shown
from dashboard.model.tokens import Vocabulary, whole_characters
from encoder.index import FeatureIndex
from saefetch.labels import Label, Labels
from saefetch.store.store import Store

MOST_BYTES = 4
"""Of a character: so many tokens may hold the bytes of one."""
PREVIEW_ROWS, PREVIEW_CHARACTERS = 80, 160


@dataclass(frozen=True)
class Settings:
    """What the command was told. `named` is the SAE whose labels are meant, `default` the one to take otherwise.

    `index` is the index of the features, where it lies in another folder. `jobs` says that the service is mounted.
    `sae` is what this SAE is called among `saes`, all that there are.
    """

    data_dir: Path
    features: Path
    default: tuple[str, str]
    named: tuple[str, str] | None = None
    queue: Path | None = None
    index: Path | None = None
    jobs: bool = False
    sae: str = ""
    saes: tuple[str, ...] = ()

    @cached_property
    def places(self) -> Places:
        named = (
            (self.features, "FEATURES"),
            (self.data_dir, "DATA_DIR"),
            (self.queue, "QUEUE"),
            (self.index and self.index.parent, "INDEX"),
        )
        return Places(named)


@dataclass(frozen=True, slots=True)
class Look:
    """What a view gets. `labels` and their `store` are None where no labels may be shown; `refusal` says why not.

    `picked` holds labels that were read before, for an export that needs the same ones for every row.
    """

    settings: Settings
    vocabulary: Vocabulary
    corpus: Corpus | None
    labels: Labels | None
    store: Store | None
    labels_folder: Path
    refusal: str | None
    kept: Cache
    picked: Mapping[int, Label] | None = None

    @property
    def features(self) -> Corpus:
        """Raises: NotFoundError where there are no features."""
        if self.corpus is None:
            raise NotFoundError(
                f"no features in {shown(self.settings.features, 'FEATURES')} yet; {self.encode_command} makes them"
            )
        return self.corpus

    @property
    def index(self) -> FeatureIndex:
        """Raises: NotFoundError where there are no features, NotReadyError where they have no index."""
        if self.features.index is None:
            raise NotReadyError(f"this needs the index by feature; make it: {self.index_command}")
        return self.features.index

    @property
    def encode_command(self) -> str:
        return shlex.join(["sae-encode", "run", "ACTIVATIONS", "--out", shown(self.settings.features, "FEATURES")])

    @property
    def download_command(self) -> str:
        names = self.settings.named or self.settings.default
        if self.corpus is not None and self.corpus.features.meta:
            meta = self.corpus.features.meta[0]
            if isinstance(meta.get("sae_release"), str) and isinstance(meta.get("sae_id"), str):
                names = meta["sae_release"], meta["sae_id"]
        flags = [
            "--sae-release",
            names[0],
            "--sae-id",
            names[1],
            "--data-dir",
            shown(self.settings.data_dir, "DATA_DIR"),
        ]
        return shlex.join(["saefetch", "download", *flags])

    @property
    def index_command(self) -> str:
        index = self.settings.index
        out = [] if index is None else ["--out", shown(index.parent, "INDEX")]
        return shlex.join(["sae-encode", "index", shown(self.settings.features, "FEATURES"), *out])

    @property
    def d_sae(self) -> int:
        """The SAE's width, 0 where nothing says it."""
        if self.corpus is not None:
            return self.corpus.d_sae
        return len(self.labels) if self.labels is not None else 0

    def check_feature(self, index: int) -> int:
        """Raises: NotFoundError unless there is such a feature."""
        if not 0 <= index < self.d_sae:
            raise NotFoundError(f"feature {index} does not exist: there are {self.d_sae:,}, counted from 0")
        return index

    def pick(self, indices: Iterable[int]) -> Mapping[int, Label]:
        """Return the labels of these features, by feature; empty where there are no labels to be shown."""
        if self.picked is not None:
            return self.picked
        return {} if self.labels is None else self.labels.pick(indices)

    def descriptions(self, indices: Sequence[int]) -> list[str | None]:
        """Return each feature's description, None where it has none."""
        labels = self.pick(indices)
        return [labels[index].description if index in labels else None for index in indices]

    @property
    def neuronpedia(self) -> str | None:
        """The address of the SAE's page."""
        name = self.labels.neuronpedia_id if self.labels is not None else None
        if name is None and self.corpus is not None and self.corpus.features.meta:
            name = self.corpus.features.meta[0].get("neuronpedia_id")
        return f"https://www.neuronpedia.org/{quote(name)}" if isinstance(name, str) and name else None

    def texts(self, document: Document, start: int, stop: int) -> list[str]:
        """Return the texts of the tokens [start, stop) of a document."""
        first, last = max(0, start - MOST_BYTES), min(document.n_rows, stop + MOST_BYTES)
        tokens = self.features.features.tokens(document.shard, document.start + first, document.start + last)
        texts = whole_characters(self.vocabulary.texts(tokens, first, last - first))
        return texts[start - first : stop - first]

    def preview(self, document: Document) -> str:
        """Return the beginning of the document's text, "" if its shard has neither texts nor ids of tokens."""
        n_rows = min(document.n_rows, PREVIEW_ROWS)
        tokens = self.features.features.tokens(document.shard, document.start, document.start + n_rows)
        if tokens.texts is None and tokens.token_ids is None:
            return ""
        return "".join(self.texts(document, 0, n_rows))[:PREVIEW_CHARACTERS]
