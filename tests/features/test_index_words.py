"""The words of an index: on which rows each token and each word of the texts stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from dashboard_data import write_shard
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.cli.index import index as index_command
from encoder.errors import EncoderError
from encoder.index import FeatureIndex, open_index
from encoder.index.build import build_index
from encoder.index.words import length_at, plain
from encoder.shard import Tokens
from saefetch.files.atomic import atomic_write


def made(folder: Path, *shards: Tokens, memory: int = 1 << 20) -> FeatureIndex:
    folder.mkdir(exist_ok=True)
    for number, tokens in enumerate(shards):
        n = len(tokens.token_ids if tokens.texts is None else tokens.texts)  # type: ignore[arg-type]
        write_shard(folder / f"{number}.npz", scipy.sparse.csr_matrix(np.ones((n, 3), np.float32)), tokens)
    build_index(folder, memory_bytes=memory)
    return open_index(folder)


def rows(index: FeatureIndex, word: str) -> list[int]:
    assert index.words is not None
    return [int(row) for row in index.words.rows(word)]


def test_tokens_and_the_words_that_they_make_are_found_in_any_case(tmp_path: Path) -> None:
    texts = [" A", " Hash", "able", " key", ",", " hash", "able", "s", ".", "HASH", "\n", " im", "mut", "able"]
    index = made(tmp_path, Tokens(texts=texts))
    assert rows(index, "hashable") == [1], "hashables is another word"
    assert rows(index, "hashables") == [5]
    assert rows(index, "hash") == [1, 5, 9] == rows(index, "HASH ")
    assert rows(index, "able") == [2, 6, 13]
    assert rows(index, "immutable") == [11]
    assert rows(index, ",") == [4] and rows(index, "") == rows(index, "nothing") == []
    assert index.words is not None
    assert sorted(index.words.rows_of_beginning("has").tolist()) == [1, 1, 5, 5, 9]
    assert [length_at(texts, 1, "hashable"), length_at(texts, 1, "hash"), length_at(texts, 4, ",")] == [2, 1, 1]


@pytest.mark.parametrize(
    ("texts", "word", "at"),
    [
        (["▁dog", "s", "▁bark"], "dogs", [0]),
        (["Ġdog", "s", "Ġbark"], "dogs", [0]),
        (["Ġdog", "Ġsbark"], "dogsbark", []),
        (["dog", "##gy", "bark"], "doggy", [0]),
        (["犬", "猫"], "犬猫", []),  # scripts without blanks
        (["犬", "猫"], "猫", [1]),
        (["don", "'", "t"], "t", [2]),
        (["x"] * 17, "x" * 17, []),  # no word that anybody looks for
        (["x"] * 16, "x" * 16, [0]),
        (["Straße"], "STRASSE", [0]),
        (["\ud800a"], "\ud800a", [0]),
    ],
)
def test_words_are_joined_as_tokenizers_part_them(tmp_path: Path, texts: list[str], word: str, at: list[int]) -> None:
    assert rows(made(tmp_path, Tokens(texts=texts)), word) == at


def test_rows_that_do_not_count_do_not_count_and_part_words_as_documents_do(tmp_path: Path) -> None:
    texts = [" dog", "s", " dog", "s", " dog", "s"]
    mask = np.array([True, True, True, False, True, True])
    document = np.array([0, 0, 0, 0, 0, 1])
    index = made(tmp_path, Tokens(texts=texts, row_mask=mask, row_document=document), Tokens(texts=["s", " dog"]))
    assert (rows(index, "dogs"), rows(index, "dog"), rows(index, "s")) == ([0], [0, 2, 4, 7], [1, 5, 6])


def test_ids_without_texts_are_found_by_number(tmp_path: Path) -> None:
    index = made(tmp_path, Tokens(token_ids=np.array([5, 42, 5])), Tokens(texts=["#x"]))
    assert rows(index, "#5") == [0, 2]
    assert index.words is not None
    assert {number: index.words.rows_at(place).tolist() for number, place in index.words.by_id.items()} == {
        5: [0, 2],
        42: [1],
    }


def truth(texts: Sequence[str], first_row: int, found: dict[str, set[int]]) -> None:
    """Find every token, and every run of tokens that no blank parts."""
    at = 0
    while at < len(texts):
        stop = at + 1
        while stop < len(texts) and texts[stop - 1][-1:].isalnum() and texts[stop][:1].isalnum():
            stop += 1
        for i in range(at, stop):
            found[plain(texts[i])].add(first_row + i)
        found["".join(map(plain, texts[at:stop]))].add(first_row + at)
        at = stop


@settings(max_examples=30, deadline=None)
@given(
    shards=st.lists(st.lists(st.sampled_from([" a", "b", "A", " B", ".", " ", "é", "\n"]), max_size=15), max_size=4),
    memory=st.sampled_from([1, 1 << 20]),
)
def test_every_word_of_every_shard_is_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[str]], memory: int
) -> None:
    index = made(tmp_path_factory.mktemp("w"), *(Tokens(texts=texts) for texts in [*shards, ["z"]]), memory=memory)
    found: dict[str, set[int]] = defaultdict(set)
    first_row = 0
    for texts in [*shards, ["z"]]:
        truth(texts, first_row, found)
        first_row += len(texts)
    found.pop("", None)
    assert index.words is not None
    assert {index.words[at]: set(index.words.rows_at(at).tolist()) for at in range(len(index.words))} == found


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with np.load(folder / "features.csc") as file:
        arrays = dict(file)
    change(arrays)
    with atomic_write(folder / "features.csc") as out:
        np.savez(out, **arrays)


def test_an_index_without_words_is_read_and_the_command_makes_it_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, Tokens(texts=[" a", "b"]))
    changed(tmp_path, lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("word")])
    older = open_index(tmp_path)
    assert older.words is None and older.state == "ready" and older.count.tolist() == [2, 2, 2]
    index_command(tmp_path, None, 64, as_json=False, quiet=False)
    assert "nothing to do" not in capsys.readouterr().out
    assert rows(open_index(tmp_path), "ab") == [0]
    index_command(tmp_path, None, 64, as_json=False, quiet=False)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda arrays: arrays.pop("words"), "has no words"),
        (lambda arrays: arrays.update(word_rows=arrays["word_rows"] + 9), "the rows of a word do not rise"),
        (lambda arrays: arrays.update(word_indptr=arrays["word_indptr"][::-1]), "word_indptr do not rise"),
        (lambda arrays: arrays.update(word_offsets=arrays["word_offsets"][1:]), "word_indptr is int64"),
        (lambda arrays: arrays.update(word_rows=arrays["word_rows"].astype("<i8")), "word_rows is int64"),
        (lambda arrays: arrays.update(word_offsets=np.zeros(0, "<i8"), word_indptr=np.zeros(0, "<i8")), "empty"),
    ],
)
def test_damaged_words_are_refused_with_the_reason(tmp_path: Path, damage: Any, complaint: str) -> None:
    made(tmp_path, Tokens(texts=[" a", "b"]))
    changed(tmp_path, damage)
    with pytest.raises(EncoderError, match=complaint):
        rows(open_index(tmp_path), "a")
