"""Every format gives the rows that were written, in any split, however large the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shards
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from shards import NPY, entry, listed, npy_bytes, open_one, safetensors_bytes, same_bits, whole

from encoder.errors import AmbiguousError, ShardError
from encoder.readers import find_inputs
from encoder.readers.arrow_stream import place, read_batches, storage

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
BY_NAME = {maker.__name__: maker for maker in shards.MAKERS}


def check(made: shards.Made, cuts: list[int]) -> None:
    shard = open_one(made.path, made.rows.shape[1], made.select)
    assert (shard.n_rows, shard.d_in) == tuple(made.rows.shape)
    assert shard.hook_name == made.hook_name
    edges = sorted({0, shard.n_rows, *(min(cut, shard.n_rows) for cut in cuts)})
    parts = [shard.read(a, b) for a, b in pairwise(edges)]
    assert same_bits(torch.cat(parts), made.rows)
    assert shard.read(shard.n_rows, shard.n_rows).shape == (0, shard.d_in)
    tokens = shard.tokens()
    for name in ("token_ids", "row_document", "row_position", "row_mask"):
        assert listed(getattr(tokens, name)) == getattr(made, name), name
    assert (tokens.texts, tokens.sections) == (made.texts, made.sections)


@pytest.mark.parametrize("maker", BY_NAME)
@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 4), st.integers(2, 5), st.integers(2, 9)),
    dtype=st.sampled_from(DTYPES),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    seed=st.integers(0, 99),
)
def test_a_format_read_in_any_split_equals_what_was_written(
    maker: str, shape: tuple[int, int, int], dtype: torch.dtype, cuts: list[int], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(BY_NAME[maker](Path(folder), shards.random(shape, dtype, seed)), cuts)


@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (2, 3, 4, 5), (0, 7)])
@pytest.mark.parametrize("maker", ["npy", "npy_fortran", "safetensors", "torch_tensor", "torch_transposed"])
def test_other_shapes_are_flattened_in_c_order(tmp_path: Path, maker: str, shape: tuple[int, ...]) -> None:
    acts = shards.random(shape, torch.float32)
    made = BY_NAME[maker](tmp_path, acts if len(shape) > 2 else acts[None])
    if len(shape) == 2 and maker == "npy":
        np.save(made.path, acts.numpy())
        made.row_document = made.row_position = None
    select = {"axes": "document,document,token,d"} if len(shape) > 3 else {}
    shard = open_one(made.path, shape[-1], select)
    assert same_bits(whole(shard), made.rows)
    assert listed(shard.tokens().row_document) == made.row_document


@pytest.mark.parametrize("maker", BY_NAME)
def test_without_a_width_the_only_float_tensor_is_taken(tmp_path: Path, maker: str) -> None:
    made = BY_NAME[maker](tmp_path, shards.random((2, 3, 4), torch.float32))
    if maker in ("safetensors",):
        with pytest.raises(AmbiguousError, match=r"resid.*other|other.*resid"):
            open_one(made.path)
    else:
        assert same_bits(whole(open_one(made.path, None, made.select)), made.rows)


@pytest.mark.parametrize("maker", BY_NAME)
def test_the_wrong_width_is_refused_with_both_widths(tmp_path: Path, maker: str) -> None:
    made = BY_NAME[maker](tmp_path, shards.random((2, 3, 4), torch.float32))
    with pytest.raises(ShardError, match="777"):
        open_one(made.path, 777, made.select)


def test_float64_is_rounded_and_says_so(tmp_path: Path) -> None:
    made = shards.npy(tmp_path, shards.random((2, 3, 4), torch.float64))
    shard = open_one(made.path, 4)
    assert shard.dtype == "float64" and "rounded" in shard.notes[0]
    assert whole(shard).dtype == torch.float32


def test_float64_beyond_float32_is_refused_and_not_made_infinity(tmp_path: Path) -> None:
    acts = np.zeros((5, 4))
    acts[3, 2] = -1e300
    np.save(tmp_path / "x.npy", acts)
    shard = open_one(tmp_path / "x.npy", 4)
    with pytest.raises(ShardError, match=r"row 3 holds 1e\+300, infinity in float32"):
        shard.read(2, 5)
    acts[3, 2] = np.inf  # what was infinite is the encoder's to refuse
    np.save(tmp_path / "x.npy", acts)
    assert open_one(tmp_path / "x.npy", 4).read(3, 4)[0, 2] == torch.inf


@pytest.mark.filterwarnings("error")  # numpy's and torch's say when rows still lie in the map
@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (lambda acts: acts[:, 1:], (3, 4, 6)),  # without the first token
        (lambda acts: acts[1:, ::2], (2, 3, 6)),
        (lambda acts: acts[..., ::3], (3, 5, 2)),
        (lambda acts: acts.transpose(0, 1), (5, 3, 6)),
        (lambda acts: acts[1], (5, 6)),
        (lambda acts: acts[:, 2], (3, 6)),
        (lambda acts: acts[:0], (0, 5, 6)),
        (lambda acts: torch.nn.Parameter(acts), (3, 5, 6)),
    ],
)
def test_a_view_that_torch_saved_is_read_as_torch_loads_it(tmp_path: Path, view: Any, shape: tuple[int, ...]) -> None:
    torch.save({"x": view(shards.random((3, 5, 6), torch.bfloat16)), "rest": [torch.zeros(2)]}, tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)["x"].detach()
    assert tuple(loaded.shape) == shape
    shard = open_one(tmp_path / "x.pt", shape[-1])
    for step in (1, 4, 99):
        parts = [shard.read(i, min(i + step, shard.n_rows)) for i in range(0, shard.n_rows, step)]
        assert same_bits(torch.cat([torch.zeros(0, shape[-1]).bfloat16(), *parts]), shards.flat(loaded))


def test_what_torch_saves_beside_tensors_does_not_matter(tmp_path: Path) -> None:
    acts = shards.random((3, 4), torch.float32)
    others = {
        "set": {1, 2}, "complex": 1j, "bytes": b"x", "device": torch.device("cpu"), "dtype": torch.float16, "x": None,
        "size": torch.Size([2, 3]), "sparse": torch.eye(3).to_sparse(), "meta": torch.zeros(2, 4, device="meta"),
        "f8": torch.zeros(2, 4).to(torch.float8_e4m3fn), "u16": torch.zeros(2, dtype=torch.uint16), ("a", 1): 2.5,
        "ordered": OrderedDict(a=1), "negative": torch.zeros(3, 4, dtype=torch.complex64).conj().imag, "big": 1 << 80,
    }  # fmt: skip
    torch.save({**others, "acts": acts}, tmp_path / "x.pt")
    assert same_bits(whole(open_one(tmp_path / "x.pt", 4)), acts)
    torch.save(OrderedDict(acts=acts), tmp_path / "x.pt", pickle_protocol=4)
    assert same_bits(whole(open_one(tmp_path / "x.pt", 4)), acts)


def test_rows_outside_the_shard_are_an_error(tmp_path: Path) -> None:
    shard = open_one(shards.npy(tmp_path, shards.random((2, 3, 4), torch.float32)).path)
    for start, stop in ((-1, 2), (0, 7), (3, 2)):
        with pytest.raises(IndexError):
            shard.read(start, stop)


def test_a_file_cut_after_it_was_opened_is_an_error_not_a_crash(tmp_path: Path) -> None:
    for maker in (shards.npy, shards.npy_fortran):
        made = maker(tmp_path, shards.random((40, 50, 4), torch.float32))
        shard = open_one(made.path)
        os.truncate(made.path, 1000)
        with pytest.raises(ShardError, match="cut"):
            shard.read(1900, 2000)


SAEV_NAMES = {
    "0.1.0": ("n_patches_per_img", "d_vit", "n_imgs", "n_patches_per_shard", None),
    "1": ("n_patches_per_img", "d_vit", "n_imgs", "max_patches_per_shard", None),
    "1.1": ("n_patches_per_img", "d_vit", "n_imgs", "max_patches_per_shard", "n_imgs"),
    "2.0": ("patches_per_ex", "d_model", "n_ex", "patches_per_shard", "n_ex"),
}


@pytest.mark.parametrize("version", SAEV_NAMES)
def test_saev_of_all_protocols_is_read(tmp_path: Path, version: str) -> None:
    made = shards.saev(tmp_path, shards.random((2, 3, 4), torch.float32))
    path, index = made.path.parent / "metadata.json", made.path.parent / "shards.json"
    *names, of_index = SAEV_NAMES[version]
    new = ("content_tokens_per_example", "d_model", "n_examples", "max_tokens_per_shard")
    old = dict(zip(new, names, strict=True))
    path.write_text(json.dumps({old.get(key, key): value for key, value in json.loads(path.read_text()).items()}))
    if of_index is None:
        index.unlink()
    else:
        index.write_text(json.dumps([{"name": made.path.name, of_index: 2}]))
    check(made, [2])
    assert find_inputs(made.path.parent) == [made.path]


def test_a_shard_that_saev_opened_and_did_not_fill_is_empty(tmp_path: Path) -> None:
    """It opens the next file as soon as one is full, with the size of a full one."""
    made = shards.saev(tmp_path, shards.random((2, 3, 4), torch.float32))
    path = made.path.with_name("acts000001.bin")
    path.write_bytes(made.path.read_bytes())
    index = [{"name": made.path.name, "n_examples": 4}, {"name": path.name, "n_examples": 0}]
    (path.parent / "shards.json").write_text(json.dumps(index))
    assert [open_one(file, 4, made.select).n_rows for file in find_inputs(path.parent)] == [12, 0]


def test_activault_files_of_other_numbers_of_batches_are_read(tmp_path: Path) -> None:
    """metadata.json has the shape of one batch at first; the last file on disk may have fewer than the others."""
    made = shards.activault(tmp_path, shards.random((2, 3, 4), torch.float32))
    metadata = made.path.parent / "metadata.json"
    for shape in ([1, 3, 4], [2, 3, 4], [64, 3, 4]):
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"shape": shape, "batch_size": 1}))
        check(made, [2])


@pytest.mark.parametrize("empty", [{}, {8: {}, 16: {}}])
def test_a_prompt_without_activations_has_no_rows_and_says_so(tmp_path: Path, empty: dict[int, Any]) -> None:
    made = shards.capture_response_only(tmp_path, shards.random((3, 2, 4), torch.float32))
    contents = torch.load(made.path)
    contents["prompt"]["activations"] = empty
    torch.save(contents, made.path)
    check(made, [1])
    assert open_one(made.path, 4, made.select).notes == (
        "the prompt has 2 tokens but no activations, so it has no rows",
    )


def test_layers_of_a_capture_may_be_strings(tmp_path: Path) -> None:
    made = shards.capture(tmp_path, shards.random((3, 2, 4), torch.float32))
    contents = torch.load(made.path)
    section = contents["response"]
    section["activations"] = {str(layer): parts for layer, parts in section["activations"].items()}
    torch.save(contents, made.path)
    check(made, [1])


def test_a_response_without_tokens_has_no_rows(tmp_path: Path) -> None:
    """A conversation that the producer captures whole is all prompt."""
    made = shards.capture(tmp_path, shards.random((3, 2, 4), torch.float32))
    contents = torch.load(made.path)
    contents["response"] |= {"tokens": [], "token_ids": [], "text": ""}
    for parts in contents["response"]["activations"].values():
        parts.update({name: rows[:0] for name, rows in parts.items()})
    torch.save(contents, made.path)
    made.rows, made.sections = made.rows[:2], {"prompt": (0, 2), "response": (2, 2)}
    made.token_ids, made.texts, made.row_document, made.row_position = [0, 1], [" t0", " t1"], [0, 0], [0, 1]
    check(made, [1])


def test_tokens_of_a_shuffled_store_are_left_alone(tmp_path: Path) -> None:
    made = shards.memmap(tmp_path, shards.random((2, 3, 4), torch.float32))
    config = made.path.parent / "config.json"

    def set_config(**changes: object) -> None:
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))

    set_config(store_sequence_ranges=False)
    tokens = open_one(made.path, 4).tokens()
    assert (listed(tokens.token_ids), tokens.row_document) == (made.token_ids, None)
    set_config(shuffle_shards=True)
    assert open_one(made.path, 4).tokens().token_ids is None


def test_documents_of_a_store_are_found_also_where_its_tokens_are_not(tmp_path: Path) -> None:
    made = shards.memmap(tmp_path, shards.random((2, 3, 4), torch.float32))
    (made.path.parent.parent / "tokens.pt").unlink()
    made.token_ids = None
    check(made, [1])
    ranges = made.path.parent.parent / "sequence_ranges.pt"
    torch.save(torch.load(ranges) + 1, ranges)
    with pytest.raises(ShardError, match="expected starts from 0 up to 11"):
        open_one(made.path, 4).tokens()


def test_a_store_of_the_original_is_float32_and_its_config_misses_the_last_shard(tmp_path: Path) -> None:
    made = shards.memmap(tmp_path, shards.random((2, 3, 4), torch.float32))
    for name in ("tokens.pt", "sequence_ranges.pt"):
        (made.path.parent.parent / name).unlink()
    for i in (0, 1):
        meta = made.path.with_name(f"shard_{i}.meta")
        meta.write_text(json.dumps({"shape": json.loads(meta.read_text())["shape"]}))
    made.token_ids = made.row_document = made.row_position = None
    assert find_inputs(made.path.parent)[-1] == made.path
    check(made, [2])


class Tokenizer:
    bos_token_id, eos_token_id, pad_token_id, padding_side, name_or_path = 0, 1, 1, "right", "tiny"


def tiny_model() -> Any:
    """A HookedTransformer of random weights; importing TransformerLens takes seconds, so it is used in one test."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    size = {"n_layers": 2, "d_model": 8, "n_ctx": 16, "d_head": 4, "n_heads": 2, "d_vocab": 50, "d_mlp": 12}
    model = HookedTransformer(HookedTransformerConfig(**size, act_fn="relu", device="cpu", seed=0))
    model.tokenizer = Tokenizer()
    return model


def check_transformer_lens_caches(model: Any, folder: Path) -> None:
    """What users save of run_with_cache: the cache's dict; a cache itself needs pickle."""
    ids = torch.arange(12).reshape(2, 6)
    _, cache = model.run_with_cache(ids)
    path, hook = folder / "cache.pt", "blocks.1.hook_resid_post"
    torch.save(cache.cache_dict, path)
    shard = open_one(path, 8, {"key": hook})
    assert same_bits(whole(shard), cache[hook].reshape(-1, 8))
    assert shard.hook_name == hook and listed(shard.tokens().row_position) == [*range(6)] * 2
    heads = open_one(path, 8, {"key": "blocks.0.attn.hook_z"})  # [b, s, heads, d_head], one row a token
    assert same_bits(whole(heads), cache["blocks.0.attn.hook_z"].reshape(-1, 8))
    with pytest.raises(AmbiguousError, match=r"several tensors fit: hook_embed float32\[2, 6, 8\]"):
        open_one(path, 8)
    assert open_one(path, 12, {"key": "blocks.0.mlp.hook_post"}).n_rows == 12
    _, unbatched = model.run_with_cache(ids[0], remove_batch_dim=True, names_filter=hook)
    torch.save(unbatched.cache_dict, path)
    assert unbatched[hook].shape == (6, 8) and same_bits(whole(open_one(path, 8)), unbatched[hook])
    torch.save(cache, path)
    with pytest.raises(ShardError, match=r"needs pickle.*transformer_lens.*save only tensors"):
        open_one(path, 8)


def test_the_real_writers_of_transformer_lens_and_sae_lens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real CacheActivationsRunner, with a random model in the place of one from the hub."""
    import sae_lens.cache_activations_runner as runner_module
    from datasets import Dataset, disable_progress_bars
    from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

    disable_progress_bars()
    model = tiny_model()
    check_transformer_lens_caches(model, tmp_path)
    monkeypatch.setattr(runner_module, "load_model", lambda **_: model)
    texts = Dataset.from_dict({"input_ids": torch.arange(64 * 16).remainder(48).add(2).reshape(64, 16).tolist()})
    config = CacheActivationsRunnerConfig(
        dataset_path="none", model_name="tiny", model_batch_size=4, hook_name="blocks.0.hook_resid_post", d_in=8,
        training_tokens=16 * 24, context_size=16, new_cached_activations_path=str(tmp_path / "acts"), shuffle=False,
        prepend_bos=False, streaming=False, buffer_size_gb=8 * 16 * 8 * 4 / 1e9,
    )  # fmt: skip
    written = CacheActivationsRunner(config, override_dataset=texts).run().with_format("torch")
    acts = torch.stack(list(written["blocks.0.hook_resid_post"]))
    ids = torch.stack(list(written["token_ids"]))
    files = find_inputs(tmp_path / "acts")
    opened = [open_one(file, 8) for file in files]
    assert len(files) == 3
    assert same_bits(torch.cat([whole(shard) for shard in opened]), acts.reshape(-1, 8))
    assert [i for shard in opened for i in shard.tokens().token_ids] == ids.flatten().tolist()
    assert listed(opened[1].tokens().row_position) == [*range(16)] * 8
    assert listed(opened[1].tokens().row_document) == [i for i in range(8) for _ in range(16)]
    assert opened[0].hook_name == "blocks.0.hook_resid_post"
    want = model.run_with_cache(ids[:8])[1]["blocks.0.hook_resid_post"].reshape(-1, 8)
    assert torch.allclose(whole(opened[0]), want, atol=1e-5)
    state = json.loads((tmp_path / "acts" / "state.json").read_text())
    state["_data_files"].reverse()
    (tmp_path / "acts" / "state.json").write_text(json.dumps(state))
    assert find_inputs(tmp_path / "acts") == files[::-1]


def test_arrow_values_are_found_in_the_file_where_a_slice_begins(tmp_path: Path) -> None:
    made = shards.arrow(tmp_path, shards.random((2, 3, 4), torch.float16))
    stream = read_batches(made.path)
    values = storage(stream.batches[0], "blocks.0.hook").flatten().flatten()
    placed = place(stream, values.slice(5, 7), "the slice").read(0, 1)
    assert same_bits(placed[0], made.rows.flatten()[5:12])


@pytest.mark.parametrize("place", ["data file", "metadata", "meta"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path, place: str) -> None:
    acts = shards.random((2, 3, 4), torch.float32)
    made = shards.saev(tmp_path, acts) if place == "metadata" else shards.memmap(tmp_path, acts)
    pipe = made.path
    if place != "data file":
        pipe = made.path.parent / ("metadata.json" if place == "metadata" else "shard_0.meta")
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(ShardError, match=r"not a regular file|no reader knows|numbers without a header"):
        open_one(made.path, 4, made.select)


def test_tokens_of_a_submodule_with_slashes_are_found_up_to_the_root(tmp_path: Path) -> None:
    made = shards.memmap(tmp_path, shards.random((2, 3, 4), torch.float32))
    store = tmp_path / "store"
    (store / "deep").mkdir()
    made.path.parent.rename(store / "deep" / "3_out")
    path = store / "deep" / "3_out" / made.path.name
    assert listed(open_one(path, 4, root=store).tokens().token_ids) == made.token_ids
    assert open_one(path, 4, root=store).hook_name == "deep/3_out"
    assert open_one(path, 4).tokens().token_ids is None


PEAK = """
import json, sys, torch
from pathlib import Path
from encoder.readers import DataFile
def peak(name):
    return int(next(l for l in open('/proc/self/status') if l.startswith(name)).split()[1]) // 1024
for path in map(Path, sys.argv[1:]):
    before = peak('VmRSS')
    open('/proc/self/clear_refs', 'w').write('5')
    shard = DataFile(path, {'layer': '23'} if path.suffix == '.bin' else {}).shard_for(2304)
    n = shard.n_rows
    for start in [*range(0, 4 * 4096, 4096), *range(4096, n - 4096, n // 5), n - 4096]:
        shard.read(start, start + 4096)
    print(json.dumps([path.suffix, n, peak('VmHWM') - before, 'pyarrow' in sys.modules]))
"""


def sparse(path: Path, header: bytes, n_bytes: int) -> Path:
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + n_bytes)
    return path


def sparse_arrow(path: Path, d: int, n_batches: int) -> int:
    """Write record batches of 8,192 rows, zeros in float16, that take no room."""
    import pyarrow as pa

    n = 64 * 128
    values = pa.Array.from_buffers(pa.float16(), n * d, [None, pa.py_buffer(np.zeros(n * d, np.float16))])
    rows = pa.ListArray.from_arrays(pa.array(np.arange(0, n * d + 1, d, dtype=np.int32)), values)
    contexts = pa.ListArray.from_arrays(pa.array(np.arange(0, n + 1, 128, dtype=np.int32)), rows)
    batch = pa.record_batch({"hook": contexts})

    def stream(*batches: Any) -> memoryview:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            for each in batches:
                writer.write_batch(each)
        return memoryview(sink.getvalue())

    n_schema, written = len(stream()) - 8, stream(batch)
    schema, message, end = written[:n_schema], written[n_schema:-8], written[-8:]
    n_head = len(bytes(message[: 1 << 20]).rstrip(b"\0"))  # the metadata and the offsets; all after them is zeros
    with path.open("wb") as file:
        file.write(schema)
        for _ in range(n_batches):
            file.write(message[:n_head])
            file.seek(len(message) - n_head, os.SEEK_CUR)
        file.write(end)
    return n * n_batches


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """20 GB each, sparse on disk; a batch is 19 MB in bfloat16 and 38 MB in float32."""
    d = 2304
    n = (20 << 30) // (2 * d)
    npy = sparse(tmp_path / "x.npy", npy_bytes(NPY.format("<f4", False, (n // 2, d))), n // 2 * d * 4)
    memmap = sparse(tmp_path / "shard_0.memmap", b"", n * d * 2)
    memmap.with_suffix(".meta").write_text(json.dumps({"shape": [n, d], "dtype": "torch.bfloat16"}))
    tensors = sparse(
        tmp_path / "x.safetensors", safetensors_bytes({"a": entry(0, n * d * 2, [n, d], "BF16")}), n * d * 2
    )
    archive = tmp_path / "x.pt"
    with torch.serialization.skip_data():  # torch wants the tensor, untouched, while it is saved: 2 GB are enough
        torch.save({"a": torch.empty(n // 10, d, dtype=torch.bfloat16)}, archive)
    (tmp_path / "saev").mkdir()
    examples = sparse(tmp_path / "saev" / "acts000000.bin", b"", 2000 * 2 * 197 * d * 4)
    metadata = {"layers": [13, 23], "content_tokens_per_example": 196, "cls_token": True, "d_model": d,
                "n_examples": 2000, "max_tokens_per_shard": 2000 * 2 * 197}  # fmt: skip
    (tmp_path / "saev" / "metadata.json").write_text(json.dumps(metadata))
    arrow = tmp_path / "x.arrow"
    n_arrow = sparse_arrow(arrow, d, n_batches=550)
    paths = [npy, memmap, tensors, archive, examples, arrow]  # the last one imports pyarrow
    assert all(path.stat().st_blocks * 512 < 32 << 20 for path in paths)
    done = subprocess.run([sys.executable, "-c", PEAK, *paths], capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(suffix, rows) for suffix, rows, *_ in results] == [
        (".npy", n // 2), (".memmap", n), (".safetensors", n), (".pt", n // 10), (".bin", 2000 * 197),
        (".arrow", n_arrow),
    ]  # fmt: skip
    assert max(grown for _, _, grown, _ in results) < 150
    assert [imported for *_, imported in results] == [False] * 5 + [True]


def test_a_safetensors_file_of_the_library_has_all_dtypes_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {str(dtype): shards.random((3, 4), dtype) for dtype in DTYPES}
    save_file(
        {**tensors, "i": torch.zeros(2, 4, dtype=torch.int8), "f8": torch.zeros(2, 4).to(torch.float8_e4m3fn)}, path
    )
    for name, tensor in tensors.items():
        assert same_bits(whole(open_one(path, 4, {"key": name})), shards.flat(tensor))
    with pytest.raises(ShardError, match="not integers"):
        open_one(path, 4, {"key": "i"})
