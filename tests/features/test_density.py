"""The match of densities: 1 for the same densities however few the rows, less for others, and blind to masked rows."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.arrays import I64
from encoder.cli.stats import stats
from encoder.file.csr import Csr, CsrWriter
from encoder.file.folder import open_features
from encoder.labelled.density import ALIKE, count_halves, match_of
from encoder.shard import Tokens
from saefetch.decode import Rows
from saefetch.store.answers import Answers
from saefetch.store.store import Store

F = 400
RELEASE = "made-up"
RANDOM = np.random.default_rng(0)
PUBLISHED = np.minimum(0.5, RANDOM.lognormal(-5, 1.5, F))
OTHERS = np.minimum(0.5, PUBLISHED * RANDOM.lognormal(0, 0.8, F))


def halves_of(density: np.ndarray, n_rows: int, seed: int) -> I64:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    return np.array([random.binomial(n_rows // 2, density) for _ in range(2)])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_rows=st.sampled_from([4_000, 20_000, 200_000]))
def test_the_same_densities_match_and_others_do_not_however_many_the_rows(seed: int, n_rows: int) -> None:
    right, wrong = (match_of(halves_of(density, n_rows, seed), PUBLISHED) for density in (PUBLISHED, OTHERS))
    assert right is not None and wrong is not None
    assert right > ALIKE > wrong


def test_a_change_of_all_densities_by_one_factor_changes_nothing() -> None:
    halves = halves_of(PUBLISHED, 50_000, 1)
    assert match_of(halves, PUBLISHED) == pytest.approx(match_of(halves, PUBLISHED / 7), abs=1e-12)


def test_without_features_or_densities_there_is_no_match() -> None:
    halves = halves_of(PUBLISHED, 5_000, 1)
    assert match_of(np.zeros((2, F), np.int64), PUBLISHED) is None
    assert match_of(halves, np.zeros(F)) is None
    assert match_of(halves * [[1], [0]], PUBLISHED) is None, "one half alone says nothing of the noise"


def labelled(folder: Path, n_known: int) -> Path:
    """Download made-up labels, of which `n_known` features are here."""
    sae = folder / RELEASE / "layer_1"
    sae.mkdir(parents=True)
    store = Store.open(sae)
    store.set_meta(release=RELEASE, sae_id="layer_1", neuronpedia_id="m/1-x", num_features=F)
    rows = [(i, 1.0, float(PUBLISHED[i]), b"[]", b"[]") for i in range(n_known)]
    store.commit(Answers(rows=Rows(features=rows, explanations=[])), "2026-11-25T00:00:00Z")
    store.close()
    return folder


def encoded(folder: Path, density: np.ndarray, n_rows: int) -> Path:  # type: ignore[type-arg]
    """Write features that fire so often, in documents of 100 rows."""
    folder.mkdir()
    fires = np.random.default_rng(5).random((n_rows, F)) < density
    meta = {"sae_release": RELEASE, "sae_id": "layer_1", "neuronpedia_id": "m/1-x", "weights_sha256": "w"}
    indptr = np.concatenate([[0], np.cumsum(fires.sum(axis=1))])
    columns = np.nonzero(fires)[1].astype(np.int32)
    with CsrWriter(folder / "a.npz", F) as writer:
        writer.append(Csr(indptr, columns, np.ones(len(columns), np.float32), (n_rows, F)))
        writer.finish(meta, Tokens(row_document=np.arange(n_rows) // 100))
        writer.publish()
    return folder


@pytest.mark.parametrize(
    ("density", "n_rows", "n_known", "words"),
    [
        (PUBLISHED, 8_000, F, "a sign of the right layer"),
        (PUBLISHED, 8_000, F - 90, "a sign of the right layer"),
        (PUBLISHED, 8_000, F // 3, "unknown: it takes"),
        (PUBLISHED, 3_000, F, "unknown: it takes"),
        (OTHERS, 8_000, F, "no sign of the right layer or of a wrong one"),
        (PUBLISHED[::-1], 8_000, F, "a sign of another layer"),
    ],
)
def test_stats_say_how_sure_the_layer_is_where_labels_are_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], density: Any, n_rows: int, n_known: int, words: str
) -> None:
    features, labels = encoded(tmp_path / "f", density, n_rows), labelled(tmp_path / "sae", n_known)
    stats(features, labels, as_json=False)
    said = capsys.readouterr().out
    assert "densities are to Neuronpedia's: " in said and words in said
    stats(features, labels, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert words in told["density_match_says"] and (told["density_match"] is None) == ("unknown" in words)
    stats(features, tmp_path / "none", as_json=False)
    assert "Neuronpedia" not in capsys.readouterr().out


def test_labels_of_another_sae_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features, labels = encoded(tmp_path / "f", PUBLISHED, 5_000), labelled(tmp_path / "sae", F)
    (labels / RELEASE / "layer_1").rename(labels / RELEASE / "layer_2")
    with closing(Store.open(labels / RELEASE / "layer_2")) as store:
        store.set_meta(release=RELEASE, sae_id="layer_2", neuronpedia_id="m/2-x", num_features=F)
    (labels / RELEASE / "broken").mkdir()
    (labels / RELEASE / "broken" / "labels.sqlite").write_bytes(b"garbage")
    stats(features, labels, as_json=True)
    assert json.loads(capsys.readouterr().out)["density_match_says"] is None


def test_documents_are_counted_in_two_halves_and_rows_that_do_not_count_are_not(tmp_path: Path) -> None:
    documents = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    mask = np.array([True, True, False, True, False, True, True, True])
    for name in ("a", "b", "c"):
        columns = np.arange(8, dtype=np.int32) % 3
        with CsrWriter(tmp_path / f"{name}.npz", 3) as writer:
            writer.append(Csr(np.arange(9), columns, np.ones(8, np.float32), (8, 3)))
            writer.finish({"weights_sha256": "w"}, Tokens(row_document=documents, row_mask=mask))
            writer.publish()
    with open_features(tmp_path) as features:
        halves, n_rows = count_halves(features)
    # In the first half documents 0 and 3 of the first shard, 1 and 2 of the others; rows 0, 1, 7 and twice 3, 5, 6.
    assert halves.tolist() == [[5, 2, 2], [4, 4, 1]] and n_rows == 18


def test_kinds_of_documents_that_come_by_turns_are_in_both_halves(tmp_path: Path) -> None:
    """Else the halves would differ as much as the kinds do, which is taken for the noise of few rows."""
    n = 256
    columns = (np.arange(n) % 2 * 3).astype(np.int32)  # feature 0 fires in questions, feature 3 in answers
    with CsrWriter(tmp_path / "a.npz", 4) as writer:
        writer.append(Csr(np.arange(n + 1), columns, np.ones(n, np.float32), (n, 4)))
        writer.finish({"weights_sha256": "w"}, Tokens(row_document=np.arange(n)))
        writer.publish()
    with open_features(tmp_path) as features:
        halves, _ = count_halves(features)
    assert halves.tolist() == [[64, 0, 0, 64], [64, 0, 0, 64]]
