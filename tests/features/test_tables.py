"""parquet and Arrow files: the activations that were written, of the tokens that they were written for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from shards import listed, open_one

from encoder.errors import AmbiguousError, ShardError
from encoder.readers import find_inputs

ROWS = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
LENGTHS = [30, 1, 0, 69]


def parquet_file(path: Path, table: pa.Table) -> Path:
    parquet.write_table(table, path, row_group_size=17)
    return path


def arrow_file(path: Path, table: pa.Table) -> Path:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=17)
    return path


def feather_file(path: Path, table: pa.Table) -> Path:
    feather.write_feather(table, path, compression="lz4", chunksize=17)
    return path


WRITERS: tuple[Callable[[Path, pa.Table], Path], ...] = (parquet_file, arrow_file, feather_file)


def lists(rows: np.ndarray, *, fixed: bool = True) -> Any:
    values = pa.array(rows.ravel())
    if fixed:
        return pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    return pa.ListArray.from_arrays(np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32), values)


def documents(entries: Any, lengths: list[int] = LENGTHS) -> Any:
    return pa.ListArray.from_arrays(np.cumsum([0, *lengths], dtype=np.int32), entries)


def check(path: Path, rows: np.ndarray) -> None:
    shard = open_one(path, rows.shape[1])
    assert (shard.n_rows, shard.dtype) == (len(rows), str(rows.dtype))
    for start, stop in ((0, 40), (40, 41), (41, 100), (99, 100), (20, 25), (0, 100), (50, 50)):
        assert np.array_equal(shard.read(start, stop).numpy(), rows[start:stop])


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_row_of_the_table_is_a_token(tmp_path: Path, write: Any, fixed: bool, dtype: Any) -> None:
    rows = ROWS.astype(dtype)
    names = ["a"] * 30 + ["b"] * 50 + ["a"] * 20
    columns = {"activation": lists(rows, fixed=fixed), "token_id": pa.array(range(7, 107), pa.int32())}
    texts = [f" t{i}" for i in range(100)]
    table = pa.table({**columns, "token": texts, "doc": names, "attention_mask": [i % 3 > 0 for i in range(100)]})
    path = write(tmp_path / "x", table)
    check(path, rows)
    tokens = open_one(path, 8).tokens()
    assert tokens.token_ids is not None and tokens.token_ids.tolist() == list(range(7, 107))
    assert tokens.texts == texts
    assert tokens.row_document is not None and tokens.row_document.tolist() == [0] * 30 + [1] * 50 + [2] * 20
    assert tokens.row_position is not None
    assert tokens.row_position.tolist() == [*range(30), *range(50), *range(20)], (
        "a document begins where the name changes"
    )
    assert tokens.row_mask is not None and tokens.row_mask.tolist() == [i % 3 > 0 for i in range(100)]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("fixed", [True, False])
def test_a_row_of_the_table_is_a_document(tmp_path: Path, write: Any, fixed: bool) -> None:
    ids = documents(pa.array(range(100)))
    path = write(tmp_path / "x", pa.table({"hidden": documents(lists(ROWS, fixed=fixed)), "input_ids": ids}))
    check(path, ROWS)
    tokens = open_one(path, 8).tokens()
    assert tokens.token_ids is not None and tokens.token_ids.tolist() == list(range(100))
    assert tokens.row_document is not None and np.bincount(tokens.row_document).tolist() == LENGTHS
    assert tokens.row_position is not None and tokens.row_position.tolist() == [*range(30), 0, *range(69)]


def test_token_ids_of_other_documents_lengths_are_refused_though_their_sum_is_right(tmp_path: Path) -> None:
    ids = documents(pa.array(range(100)), [29, 2, 0, 69])
    path = parquet_file(tmp_path / "x", pa.table({"hidden": documents(lists(ROWS)), "input_ids": ids}))
    with pytest.raises(ShardError, match=r"'?input_ids.*different runs"):
        open_one(path, 8).tokens()


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    table = pa.table({"blocks.1.hook_resid_post": lists(ROWS), "blocks.2.hook_resid_post": lists(ROWS * 2)})
    path = parquet_file(tmp_path / "x", table)
    with pytest.raises(AmbiguousError, match=r"--select blocks\.1\.hook_resid_post"):
        open_one(path, 8)
    shard = open_one(path, 8, {"key": "blocks.2.hook_resid_post"})
    assert np.array_equal(shard.read(0, 100).numpy(), ROWS * 2) and shard.hook_name == "blocks.2.hook_resid_post"
    with pytest.raises(ShardError, match="has no column of activations 'x'"):
        open_one(path, 8, {"key": "x"})


def test_the_width_is_the_first_rows_where_no_sae_says_it(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "x", pa.table({"a": lists(ROWS, fixed=False)}))
    assert open_one(path).d_in == 8
    with pytest.raises(ShardError, match="rows of 8, but the SAE takes 4"):
        open_one(path, 4)


@pytest.mark.parametrize("write", WRITERS)
def test_rows_of_other_lengths_and_nulls_are_refused(tmp_path: Path, write: Any) -> None:
    ragged: list[Any] = [[1.0] * 8, [1.0] * 7, [1.0] * 9]
    for rows, message in (
        (ragged, "a row has 7 values"),
        ([[1.0] * 8, None], "null"),
        ([[1.0] * 8, [1.0, None]], "null"),
    ):
        path = write(tmp_path / "x", pa.table({"a": pa.array(rows, pa.list_(pa.float32()))}))
        with pytest.raises(ShardError, match=message):
            open_one(path, 8).read(0, len(rows))


def test_a_file_without_lists_of_floats_is_refused_with_what_it_has(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "x", pa.table({"text": ["a"], "n": [1.0], "ids": [[1, 2]]}))
    with pytest.raises(ShardError, match=r"no column holds lists of float.*text string, n double, ids list"):
        open_one(path, 8)
    empty = parquet_file(tmp_path / "y", pa.table({"a": pa.array([], pa.list_(pa.float32()))}))
    assert open_one(empty, 8).n_rows == 0


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_is_cut_or_damaged_is_refused(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "x", pa.table({"a": lists(ROWS)}))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ShardError, match="Arrow cannot read it"):
        open_one(path, 8).read(0, 100)


def test_a_data_set_of_the_hub_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for i in range(3):
        part = datasets.Dataset.from_dict({"activation": ROWS[i * 10 : i * 10 + 10], "token_id": list(range(10))})
        part.to_parquet(tmp_path / f"train-{i:05}-of-00003.parquet")
    files = find_inputs(tmp_path)
    assert [path.name for path in files] == [f"train-{i:05}-of-00003.parquet" for i in range(3)]
    for i, path in enumerate(files):
        shard = open_one(path, 8)
        assert np.array_equal(shard.read(0, 10).numpy().astype(np.float32), ROWS[i * 10 : i * 10 + 10])


def test_arrays_of_data_sets_are_read_as_well(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"acts": datasets.Array2D((25, 8), "float32")})
    path = tmp_path / "x.parquet"
    datasets.Dataset.from_dict({"acts": ROWS.reshape(4, 25, 8)}, features=features).to_parquet(path)
    check(path, ROWS)


@pytest.mark.parametrize("of", [lambda real: real.astype(float), lambda real: np.where(real, 0.0, -1e9)])
def test_a_column_of_floats_is_a_mask_as_well(tmp_path: Path, of: Callable[[np.ndarray], np.ndarray]) -> None:
    rows, real = np.ones((6, 4), np.float32), np.arange(6) < 4
    table = pa.table({"activation": lists(rows), "attention_mask": of(real)})
    assert listed(open_one(parquet_file(tmp_path / "x.parquet", table), 4).tokens().row_mask) == real.tolist()


def test_a_column_that_may_be_a_mask_is_told_of(tmp_path: Path) -> None:
    rows = np.ones((6, 4), np.float32)
    table = pa.table({"activation": lists(rows), "is_padding": [True] * 6, "kept": [False] * 6, "loss_mask": [1] * 6})
    notes = open_one(parquet_file(tmp_path / "x.parquet", table), 4).notes
    assert [note.split()[0] for note in notes] == ["is_padding", "kept", "loss_mask"]
    assert all("is not used, as programs disagree on what 1 means in it" in note for note in notes)


def test_of_several_columns_the_saes_own_hook_is_taken(tmp_path: Path) -> None:
    table = pa.table({f"model.layers.{i}": lists(np.full((6, 4), i, np.float32)) for i in range(3)})
    path = parquet_file(tmp_path / "x.parquet", table)
    assert (open_one(path, 4, hook_name="blocks.2.hook_resid_post").read(0, 6) == 2).all()
    with pytest.raises(ShardError, match=r"nothing of blocks\.7"):
        open_one(path, 4, hook_name="blocks.7.hook_resid_post")


@pytest.mark.parametrize(
    "of", [lambda real: real, lambda real: real.astype(int), lambda real: np.where(real, 0.0, -1e9)]
)
def test_a_mask_in_a_saved_data_set_is_obeyed(tmp_path: Path, of: Callable[[np.ndarray], np.ndarray]) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    real = np.array([[True, True, False], [False, True, True]])
    columns = {"blocks.1.hook_resid_post": ROWS[:6].reshape(2, 3, 8).tolist(), "attention_mask": of(real).tolist()}
    columns |= {"input_ids": [[1, 2, 3], [4, 5, 6]], "padding_mask": [[True] * 3] * 2}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "d")
    shard = open_one(tmp_path / "d" / "data-00000-of-00001.arrow", 8)
    tokens = shard.tokens()
    assert listed(tokens.row_mask) == real.flatten().tolist() and listed(tokens.token_ids) == [1, 2, 3, 4, 5, 6]
    assert any(note.startswith("padding_mask is not used") for note in shard.notes)


def test_of_several_hooks_of_a_saved_data_set_the_saes_own_is_taken(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    columns = {f"blocks.{i}.hook_resid_post": np.full((2, 3, 8), i, np.float32).tolist() for i in range(3)}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "d")
    path = tmp_path / "d" / "data-00000-of-00001.arrow"
    assert (open_one(path, 8, hook_name="blocks.2.hook_resid_post").read(0, 6) == 2).all()
    with pytest.raises(ShardError, match="columns of several hooks"):
        open_one(path, 8)


@pytest.mark.parametrize("is_of_tokens", [True, False])
def test_a_row_for_each_token_with_its_layers_is_not_taken_for_texts(tmp_path: Path, is_of_tokens: bool) -> None:
    random = np.random.default_rng(0)
    layers = np.cumsum(random.standard_normal((6, 40, 16)) * [[[1]], *[[[0.3]]] * 5], axis=0).astype(np.float32)
    rows = layers.transpose(1, 0, 2) if is_of_tokens else layers
    path = parquet_file(tmp_path / "x.parquet", pa.table({"acts": rows.tolist()}))
    with pytest.raises(ShardError, match=r"are alike, cosine 0\.9.*--axes document,token,d if each is a text"):
        open_one(path, 16)
    assert open_one(path, 16, {"axes": "document,token,d"}).n_rows == 240
    with pytest.raises(ShardError, match="leave --axes out"):
        open_one(path, 16, {"axes": "token,layer,d"})
    texts = random.standard_normal((6, 40, 16)).astype(np.float32)
    assert open_one(parquet_file(path, pa.table({"acts": texts.tolist()})), 16).n_rows == 240


def test_a_layer_is_chosen_by_the_names_of_columns(tmp_path: Path) -> None:
    table = pa.table({f"layer_{i}": lists(np.full((6, 4), i, np.float32)) for i in range(3)})
    path = parquet_file(tmp_path / "x.parquet", table)
    assert (open_one(path, 4, {"layer": "2"}).read(0, 6) == 2).all()
    with pytest.raises(ShardError, match="leave --select layer=7 out"):
        open_one(path, 4, {"layer": "7"})


def test_positions_that_do_not_rise_tell_where_a_document_begins(tmp_path: Path) -> None:
    table = pa.table({"activation": lists(np.ones((7, 4), np.float32)), "position": [3, 4, 0, 1, 2, 0, 0]})
    tokens = open_one(parquet_file(tmp_path / "x.parquet", table), 4).tokens()
    assert listed(tokens.row_document) == [0, 0, 1, 1, 1, 2, 3] and listed(tokens.row_position) == [3, 4, 0, 1, 2, 0, 0]
