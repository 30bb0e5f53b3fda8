"""The match of densities: 1 for the same densities however few the rows, less for others, and blind to masked rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.arrays import I64
from encoder.file.csr import Csr, CsrWriter
from encoder.file.folder import open_features
from encoder.labelled.density import ALIKE, count_halves, match_of
from encoder.shard import Tokens

F = 400
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


def test_documents_are_counted_by_turns_and_rows_that_do_not_count_are_not(tmp_path: Path) -> None:
    documents = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    mask = np.array([True, True, False, True, False, True, True, True])
    for name in ("a", "b"):
        columns = np.arange(8, dtype=np.int32) % 3
        with CsrWriter(tmp_path / f"{name}.npz", 3) as writer:
            writer.append(Csr(np.arange(9), columns, np.ones(8, np.float32), (8, 3)))
            writer.finish({"weights_sha256": "w"}, Tokens(row_document=documents, row_mask=mask))
            writer.publish()
    with open_features(tmp_path) as features:
        halves, n_rows = count_halves(features)
    # Documents 0 and 2 of each shard: rows 0, 1, 5, 6. Documents 1 and 3: rows 3 and 7.
    assert halves.tolist() == [[4, 2, 2], [2, 2, 0]] and n_rows == 12
