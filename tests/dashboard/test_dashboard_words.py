"""Words: where one stands, what fires on it, and which documents hold several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from dashboard_data import EXCLUDED_ROWS, made_up, write_shard
from dashboard_server import Dashboard, settings_for

from dashboard.model import occurrences
from dashboard.model.data import Data
from dashboard.model.tokens import Vocabulary
from encoder.index.build import build_index
from encoder.shard import Tokens


def test_every_occurrence_is_listed_with_its_tokens(served: Dashboard) -> None:
    found = served.api("words", word="DOGS", limit=3, around=2)
    first = found["occurrences"][0]
    assert (first["address"], first["position"], first["at"], first["length"]) == ("capture", 4, 2, 1)
    assert first["tokens"] == [" me", " about", " dogs", ".", "\n"]
    all_of_them = served.api("words", word="dogs", limit=1000)["occurrences"]
    rows = [one["row"] for one in all_of_them]
    assert rows == sorted(set(rows)) and len(rows) == found["total"] and not set(rows) & set(EXCLUDED_ROWS)
    assert {one["tokens"][one["at"]].strip().casefold() for one in all_of_them} == {"dogs"}
    assert served.api("words", word="xyzzy") == {"total": 0, "occurrences": []}


def test_the_features_of_a_word_go_by_how_much_more_they_fire_on_it(tmp_path: Path) -> None:
    texts = [" a", " dog", "gy", " b", " dog", "gy", " c", " dog", "gy", " d"] * 2
    dense = np.zeros((len(texts), 6), np.float32)
    dense[[1, 5, 8], 0] = 1  # on any of the word's tokens, of each of the first three occurrences
    dense[[1, 2, 3, 6], 1] = 1  # once on an occurrence, though on two of its tokens
    dense[:, 2] = 1
    dense[[4, 5], 3] = 1  # on one occurrence of six: too few
    dense[[0, 3], 4] = 1
    (tmp_path / "features").mkdir()
    write_shard(tmp_path / "features" / "a.npz", scipy.sparse.csr_matrix(dense), Tokens(texts=texts))
    build_index(tmp_path / "features")
    with Dashboard(Data(settings_for(tmp_path))) as dashboard:
        found = dashboard.api("words/features", word="doggy")
        assert (found["looked_at"], found["occurrences"], found["total"]) == (6, 6, 2)
        assert [(one["index"], one["hits"]) for one in found["features"]] == [(0, 3), (2, 6)]
        assert [one["lift"] for one in found["features"]] == [pytest.approx((3 / 6) / (3 / 20)), pytest.approx(1)]
        assert dashboard.api("words", word="doggy")["occurrences"][1]["length"] == 2
        assert dashboard.api("words/features", word="nothing")["features"] == []


def test_of_a_frequent_word_some_occurrences_are_looked_at(served: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    n = served.api("words", word="the")["total"]
    monkeypatch.setattr(occurrences, "MOST_LOOKED_AT", 7)
    found = served.api("words/features", word="The")
    assert (found["looked_at"], found["occurrences"]) == (7, n) and n > 7
    assert all(one["hits"] <= 7 for one in found["features"])


def test_documents_are_found_by_all_of_their_words_and_the_last_may_be_a_beginning(served: Dashboard) -> None:
    def ids(query: str) -> list[int]:
        return [one["id"] for one in served.api("documents", query=query)["documents"]]

    assert ids("bark dogs") == [0] == ids("DOGS, bar")
    assert ids("bark weather") == [] == ids("bar dogs ")
    assert set(ids("proceedings weather")) >= {3, 6}
    assert ids("corpus__part") == [1, 2, 3, 4], "the shard's name, as before"


def test_ids_are_words_by_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    write_shard(tmp_path / "features" / "a.npz", made_up(4, 0), Tokens(token_ids=np.array([7, 8, 9, 7])))
    build_index(tmp_path / "features")
    vocabulary = Vocabulary({7: " Dog", 8: "dog", 9: "cat"}.get)
    with Dashboard(Data(settings_for(tmp_path), vocabulary)) as dashboard:
        assert [one["row"] for one in dashboard.api("words", word="dog")["occurrences"]] == [0, 1, 3]
        assert dashboard.api("documents", query="ca do")["total"] == 0
        assert dashboard.api("documents", query="cat do")["total"] == 1
    with Dashboard(Data(settings_for(tmp_path))) as dashboard:
        assert [one["row"] for one in dashboard.api("words", word="#7")["occurrences"]] == [0, 3]


def test_an_index_without_words_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    write_shard(tmp_path / "features" / "a.npz", made_up(4, 0), Tokens(texts=["a", "b", "c", "d"]))
    build_index(tmp_path / "features")
    path = tmp_path / "features" / "features.csc"
    with np.load(path) as file:
        arrays = {name: array for name, array in file.items() if not name.startswith("word")}
    with path.open("wb") as out:
        np.savez(out, **arrays)
    with Dashboard(Data(settings_for(tmp_path))) as dashboard:
        status, error = dashboard.refused("words", word="a")
        assert status == 409 and "sae-encode index FEATURES" in error
        assert dashboard.api("summary")["features"]["index"]["has_words"] is False
        assert dashboard.api("documents", query="a")["total"] == 1, "its beginning"
