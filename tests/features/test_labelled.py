"""Features and labels are joined only where they are known to be of one SAE."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoder import LabelledFeatures, open_features
from encoder.errors import MismatchError
from encoder.file.csr import Csr, CsrWriter
from encoder.shard import Tokens
from saefetch import Labels, open_labels
from saefetch.decode import Rows
from saefetch.store.answers import Answers
from saefetch.store.store import Store

RELEASE, SAE_ID, NEURONPEDIA_ID = "gemma-scope-2b-pt-res-canonical", "layer_16/width_16k/canonical", "gemma-2-2b/16-x"
SAME = {"sae_release": RELEASE, "sae_id": SAE_ID, "neuronpedia_id": NEURONPEDIA_ID, "sae_path": None}
N_FEATURES = 6


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[Labels]:
    folder = tmp_path / "sae" / RELEASE / SAE_ID.replace("/", "_")
    folder.mkdir(parents=True)
    store = Store.open(folder)
    store.set_meta(release=RELEASE, sae_id=SAE_ID, neuronpedia_id=NEURONPEDIA_ID, num_features=N_FEATURES)
    rows = Rows(
        features=[(i, 8.0 if i < 5 else None, 0.1, b"[]", b"[]") for i in range(N_FEATURES)],
        explanations=[(i, "t", "m", f"about {i}") for i in range(4)],
    )
    store.commit(Answers(rows=rows), "2026-11-25T00:00:00Z")
    store.close()
    with open_labels(tmp_path / "sae", RELEASE, SAE_ID) as opened:
        yield opened


def write(path: Path, meta: dict[str, Any], width: int = N_FEATURES) -> None:
    indices, data = np.array([0, 3, 5, 4], np.int32), np.array([1, 4, 4, 2], np.float32)
    with CsrWriter(path, width) as writer:
        writer.append(Csr(np.array([0, 0, 3, 4], np.int64), indices, data, (3, width)))
        writer.finish({"weights_sha256": "w", **meta}, Tokens())
        writer.publish()


def test_the_strongest_features_of_a_row_come_with_their_labels(tmp_path: Path, labels: Labels) -> None:
    write(tmp_path / "a.npz", SAME)
    with open_features(tmp_path / "a.npz") as features:
        joined = LabelledFeatures(features, labels)
        found = [(active.index, active.value, active.share, active.description) for active in joined.strongest(1)]
        assert found == [(3, 4.0, 0.5, "about 3"), (5, 4.0, None, None), (0, 1.0, 0.125, "about 0")]
        assert [active.index for active in joined.strongest(1, limit=2)] == [3, 5]
        assert joined.strongest(0) == []
        assert [active.index for active in joined.strongest(-1)] == [4]


@pytest.mark.parametrize(
    ("differs", "says"),
    [
        ({"sae_id": "layer_5/width_16k/canonical"}, "sae_id is layer_5/width_16k/canonical for the features"),
        ({"sae_release": "gemma-scope-9b-pt-res-canonical"}, "sae_release is gemma-scope-9b"),
        ({"neuronpedia_id": "gemma-2-2b/5-x"}, "neuronpedia_id is gemma-2-2b/5-x"),
        ({"neuronpedia_id": None}, "neuronpedia_id is None"),
        (dict.fromkeys(SAME) | {"sae_path": "/x/params.npz"}, "whose Neuronpedia id is not known"),
        (dict.fromkeys(SAME) | {"sae_path": "/x", "neuronpedia_id": "gemma-2-2b/5-x"}, "neuronpedia_id is"),
    ],
)
def test_features_of_another_sae_are_refused(
    tmp_path: Path, labels: Labels, differs: dict[str, Any], says: str
) -> None:
    write(tmp_path / "a.npz", SAME | differs)
    with open_features(tmp_path / "a.npz") as features, pytest.raises(MismatchError, match="npz") as refusal:
        LabelledFeatures(features, labels)
    assert says in str(refusal.value)


def test_every_file_of_a_folder_is_looked_at(tmp_path: Path, labels: Labels) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    write(folder / "a.npz", SAME)
    write(folder / "b.npz", SAME | {"sae_id": "layer_5/width_16k/canonical"})
    with open_features(folder) as features, pytest.raises(MismatchError, match=r"b\.npz"):
        LabelledFeatures(features, labels)


def test_another_width_is_refused(tmp_path: Path, labels: Labels) -> None:
    write(tmp_path / "a.npz", SAME, width=7)
    with open_features(tmp_path / "a.npz") as features, pytest.raises(MismatchError, match=r"7 columns, .* for 6"):
        LabelledFeatures(features, labels)


def test_a_folders_sae_that_says_its_neuronpedia_id_is_joined(tmp_path: Path, labels: Labels) -> None:
    write(tmp_path / "a.npz", dict.fromkeys(SAME) | {"sae_path": "/x", "neuronpedia_id": NEURONPEDIA_ID})
    with open_features(tmp_path / "a.npz") as features:
        assert LabelledFeatures(features, labels).strongest(1, limit=1)[0].description == "about 3"
