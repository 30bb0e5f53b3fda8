"""An HDF5 file that h5py wrote gives the rows that h5py reads; what lies elsewhere or was never written is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from shards import open_one, random, same_bits, whole

from encoder.errors import AmbiguousError, ShardError
from encoder.readers import find_inputs
from encoder.readers.grid import boxes

ROWS = random((50, 8), torch.float32)


def written(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file.create_dataset(name, **data) if isinstance(data, dict) else file.create_dataset(name, data=data)
    return path


def test_rows_of_any_layout_are_those_that_h5py_reads(tmp_path: Path) -> None:
    x = ROWS.numpy()
    for name, options in {
        "contiguous": {},
        "chunked": {"chunks": (7, 3)},
        "gzip": {"compression": "gzip", "shuffle": True, "chunks": (16, 8)},
        "lzf": {"compression": "lzf", "fletcher32": True},
        "resizable": {"maxshape": (None, 8)},
    }.items():
        path = written(tmp_path / f"{name}.h5", acts={"data": x, **options})
        shard = open_one(path, 8)
        with h5py.File(path) as file:
            truth = torch.from_numpy(file["acts"][:])
        assert same_bits(whole(shard), truth), name
        for start, stop in ((49, 50), (0, 1), (5, 23), (14, 15), (50, 50)):
            assert same_bits(shard.read(start, stop), truth[start:stop]), (name, start)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_every_float_of_either_byte_order_is_read(tmp_path: Path, dtype: str) -> None:
    x = ROWS.numpy().astype(dtype)
    read = whole(open_one(written(tmp_path / "a.hdf5", acts=x), 8))
    assert np.array_equal(read.double().numpy(), x.astype("<f8").astype("<f4" if dtype[1:] == "f8" else "<f8"))


def test_the_bfloat16_that_hdf5_can_describe_is_read_as_its_values(tmp_path: Path) -> None:
    rows = ROWS.to(torch.bfloat16)
    kind = h5py.h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = h5py.h5d.create(file.id, b"acts", kind, h5py.h5s.create_simple((50, 8)))
        h5py.Dataset(dataset)[...] = rows.float().numpy()
    assert torch.equal(whole(open_one(tmp_path / "a.h5", 8)), rows.float())
    bits = rows.view(torch.int16).numpy()
    shard = open_one(written(tmp_path / "bits.h5", acts=bits), 8, {"dtype": "bfloat16"})
    assert same_bits(whole(shard), rows)


def test_groups_hooks_token_ids_and_masks_are_found_as_in_other_files(tmp_path: Path) -> None:
    x, ids, mask = ROWS.reshape(5, 10, 8).numpy(), np.arange(50).reshape(5, 10), np.arange(50).reshape(5, 10) % 3 > 0
    path = written(
        tmp_path / "a.h5",
        **{"acts/blocks.3.hook_resid_post": {"data": x, "chunks": (2, 3, 8)}, "acts/blocks.4.hook_resid_post": x * 2},
        input_ids=ids.astype(np.uint32),
        attention_mask=mask,
        prompts=np.array(["a", "b"], "S3"),
    )
    with pytest.raises(AmbiguousError, match=r"--select acts\.blocks\.3"):
        open_one(path, 8)
    shard = open_one(path, 8, hook_name="blocks.3.hook_resid_post")
    tokens = shard.tokens()
    assert same_bits(whole(shard), ROWS) and same_bits(shard.read(7, 33), ROWS[7:33])
    assert tokens.token_ids is not None and tokens.row_mask is not None and tokens.row_document is not None
    assert tokens.token_ids.tolist() == list(range(50)) and tokens.row_mask.tolist() == mask.reshape(-1).tolist()
    assert tokens.row_document.tolist() == [i // 10 for i in range(50)]
    layers = written(tmp_path / "layers.h5", x={"data": x, "chunks": (1, 4, 8)})
    for axes, layer, truth in (("layer,token,d", "3", x[3]), ("token,layer,d", "7", x[:, 7])):
        rows = whole(open_one(layers, 8, {"axes": axes, "layer": layer}))
        assert np.array_equal(rows.numpy(), truth)
    heads = open_one(written(tmp_path / "z.h5", x=x), 80, hook_name="blocks.3.attn.hook_z")
    assert np.array_equal(whole(heads).numpy(), x.reshape(5, 80))


def test_numbered_prompts_are_documents_also_where_they_are_packed(tmp_path: Path) -> None:
    parts = {f"prompt_{i}": {"data": np.full((i + 2, 8), i + 1, "f4"), "compression": "gzip"} for i in range(9)}
    shard = open_one(written(tmp_path / "a.h5", **parts), 8)
    document = shard.tokens().row_document
    assert document is not None and document.tolist() == [i for i in range(9) for _ in range(i + 2)]
    assert whole(shard)[:, 0].tolist() == [float(i + 1) for i in document]


def test_what_lies_in_other_files_is_not_reached(tmp_path: Path) -> None:
    secret = written(tmp_path / "secret.h5", acts=ROWS.numpy())
    np.zeros((50, 8), "f4").tofile(tmp_path / "raw.bin")
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["ids"] = np.arange(3)
        file["acts"] = h5py.ExternalLink(str(secret), "/acts")
        file["soft"] = h5py.SoftLink("/acts")
        file["dangling"] = h5py.SoftLink("/nothing")
    with pytest.raises(ShardError, match="not integers"):
        open_one(path, 8)
    with h5py.File(path, "w") as file:
        file.create_dataset("acts", (50, 8), "f4", external=[(str(tmp_path / "raw.bin"), 0, 1600)])
    with pytest.raises(ShardError, match="in other files"):
        open_one(path, 8)
    layout = h5py.VirtualLayout((50, 8), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "acts", (50, 8))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("acts", layout)
    with pytest.raises(ShardError, match="in other files"):
        open_one(path, 8)


def test_groups_that_hold_each_other_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", acts=ROWS.numpy())
    with h5py.File(path, "a") as file:
        file.create_group("g")["up"] = file["/"]
    with pytest.raises(ShardError, match="nested deeper"):
        open_one(path, 8)


def test_numbers_that_were_never_written_are_refused_and_not_taken_for_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for options, message in (({"chunks": (10, 8)}, "3 of its 5 chunks"), ({}, "0 of its 1,600 bytes")):
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("acts", (50, 8), "f4", **options)
            if options:
                dataset[:30] = 1
        with pytest.raises(ShardError, match=message):
            open_one(path, 8)
    with h5py.File(path, "w") as file:  # netCDF writes its fill value into what is not written
        file["acts"] = np.vstack([ROWS.numpy(), np.full((2, 8), 9.96921e36, "f4")])
        file["acts"].attrs["_FillValue"] = np.array([9.96921e36], "f4")
    shard = open_one(path, 8)
    assert same_bits(shard.read(0, 50), ROWS)
    with pytest.raises(ShardError, match=r"row 50 .* never written"):
        shard.read(40, 52)


def test_numbers_that_have_to_be_scaled_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", acts=ROWS.numpy())
    for name, value, fits in (("scale_factor", 1.0, True), ("add_offset", 2.0, False), ("scale_factor", 0.5, False)):
        with h5py.File(path, "a") as file:
            file["acts"].attrs[name] = value
        if fits:
            assert same_bits(whole(open_one(path, 8)), ROWS)
        else:
            with pytest.raises(ShardError, match=f"packed .{name}"):
                open_one(path, 8)


def test_a_file_that_is_cut_damaged_or_lies_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", acts={"data": ROWS.numpy(), "compression": "gzip", "chunks": (10, 8)})
    content = path.read_bytes()
    for n in (9, 100, 600, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises(ShardError, match=r"HDF5 cannot read|cannot be decoded") as caught:
            whole(open_one(path, 8))
        assert "\n" not in str(caught.value)
    with h5py.File(path, "w") as file:
        file.create_dataset("acts", data=ROWS.numpy(), compression="gzip", chunks=(10, 8))
        at = file["acts"].id.get_chunk_info(2).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[at : at + 20] = bytes(20)
    path.write_bytes(damaged)
    shard = open_one(path, 8)
    assert same_bits(shard.read(0, 20), ROWS[:20])
    with pytest.raises(ShardError, match="cannot be decoded"):
        shard.read(15, 25)


def test_a_chunk_of_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("acts", (1 << 27, 8), "f4", chunks=(1 << 26, 8), compression="gzip")
        for i in range(2):
            dataset.id.write_direct_chunk((i << 26, 0), b"x")
    with pytest.raises(ShardError, match="chunks of at most"):
        open_one(path, 8)


def test_strings_records_and_lists_are_no_activations(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["text"] = "abc"
        file["record"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file.create_dataset("ragged", (3,), h5py.vlen_dtype(np.float32))
        file["nothing"] = h5py.Empty("f4")
        file["complex"] = np.zeros((3, 8), "c8")
    with pytest.raises(ShardError, match="no dataset of numbers"):
        open_one(path, 8)


def test_h5_files_are_found_by_what_is_in_them_and_h5py_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [written(tmp_path / name, acts=ROWS.numpy()) for name in ("a.h5", "b.hdf5", "c.acts")]
    (tmp_path / "d.h5").write_bytes(b"1")
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == paths and unread == [tmp_path / "d.h5"]
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ShardError, match=r"a\.h5: needs h5py: pip install 'saefetch\[hdf5\]'"):
        open_one(paths[0], 8)


@pytest.mark.parametrize("lead", [(7,), (3, 4), (2, 3, 4), (1, 5), (4, 1, 1, 2)])
def test_boxes_are_the_rows_in_their_order(lead: tuple[int, ...]) -> None:
    rows = np.arange(np.prod(lead)).reshape(lead)
    for start in range(rows.size + 1):
        for stop in range(start, rows.size + 1):
            found = [rows[box].reshape(-1) for box in boxes(lead, start, stop)]
            assert np.concatenate([np.zeros(0, int), *found]).tolist() == list(range(start, stop))
            assert len(found) <= 2 * len(lead)
