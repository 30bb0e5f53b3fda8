"""A tar of data files: samples are documents, layers are arrays by name, and what lies or is cut is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from shards import open_one, random, same_bits, whole

from encoder.errors import AmbiguousError, ShardError
from encoder.readers import find_inputs

LENGTHS = (3, 5, 2, 7)
PARTS = [random((n, 8), torch.float32, seed=i) for i, n in enumerate(LENGTHS)]
ROWS = torch.cat(PARTS)
DOCUMENTS = [i for i, n in enumerate(LENGTHS) for _ in range(n)]


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array))
    return out.getvalue()


def pt(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def packed(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


WRITERS = {
    "npy": npy,
    "pt": lambda x: pt(x),
    "pth": lambda x: pt(x, _use_new_zipfile_serialization=False),
    "safetensors": lambda x: save({"acts": x}),
    "npz": lambda x: npz(acts=x.numpy()),
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_member_is_a_document_in_the_archives_order(tmp_path: Path, suffix: str, format: int) -> None:
    names = ["b/0002", "b/0001", "a/9", "a/" + "long" * 20]
    members = {f"{name}.{suffix}": WRITERS[suffix](part) for name, part in zip(names, PARTS, strict=True)}
    shard = open_one(packed(tmp_path / "a.tar", members, format), 8)
    document = shard.tokens().row_document
    assert same_bits(whole(shard), ROWS) and same_bits(shard.read(2, 11), ROWS[2:11])
    assert document is not None and document.tolist() == DOCUMENTS


def test_samples_of_webdataset_bring_their_token_ids_and_text_is_passed_over_aloud(tmp_path: Path) -> None:
    members, at = {}, 0
    for i, part in enumerate(PARTS):
        members |= {
            f"{i:06}.acts.npy": npy(part),
            f"{i:06}.input_ids.npy": npy(np.arange(at, at + len(part))),
            f"{i:06}.json": b"{}",
        }
        at += len(part)
    path = packed(tmp_path / "a.tar", members)
    assert find_inputs(tmp_path) == [path]
    shard = open_one(path, 8)
    ids = shard.tokens().token_ids
    assert same_bits(whole(shard), ROWS) and ids is not None and ids.tolist() == list(range(len(ROWS)))
    assert any("4 members are not read: 000000.json" in note for note in shard.notes)


def test_layers_are_arrays_by_name_and_never_documents(tmp_path: Path) -> None:
    for names in (("layer_12", "layer_16"), ("blocks.12.hook_resid_post", "blocks.16.hook_resid_post")):
        path = packed(tmp_path / "a.tar", {f"{name}.npy": npy(PARTS[i]) for i, name in enumerate(names)})
        with pytest.raises(AmbiguousError, match=f"--select {names[0]}"):
            open_one(path, 8)
        assert same_bits(whole(open_one(path, 8, {"key": names[1]})), PARTS[1])
    assert same_bits(whole(open_one(path, 8, hook_name="blocks.16.hook_resid_post")), PARTS[1])
    folders = packed(tmp_path / "b.tar", {f"layer_{i}/0.npy": npy(part) for i, part in enumerate(PARTS)})
    with pytest.raises(AmbiguousError, match="several tensors fit"):
        open_one(folders, 8)


def test_members_of_one_length_may_be_layers_and_have_to_be_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", {f"{i}.npy": npy(ROWS[:4] + i) for i in range(3)})
    with pytest.raises(AmbiguousError, match="--axes document,token,d"):
        open_one(path, 8)
    shard = open_one(path, 8, {"axes": "document,token,d"})
    assert torch.equal(whole(shard), torch.cat([ROWS[:4] + i for i in range(3)]))


def test_a_single_member_is_as_that_file_alone(tmp_path: Path) -> None:
    acts, tokens = ROWS[:12].reshape(2, 6, 8), torch.arange(12).reshape(2, 6)
    path = packed(tmp_path / "a.tar", {"./acts.pt": pt({"activations": acts, "tokens": tokens})})
    shard = open_one(path, 8)
    ids = shard.tokens().token_ids
    assert same_bits(whole(shard), ROWS[:12]) and ids is not None and ids.tolist() == list(range(12))
    packed_tar = tmp_path / "b.tgz"
    packed_tar.write_bytes(gzip.compress(path.read_bytes()))
    assert same_bits(whole(open_one(packed_tar, 8)), ROWS[:12])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0.npy": npy(PARTS[0]), "1.npy.gz": b"1"}, r"member '1\.npy\.gz' is not read within a tar"),
        ({"0.npy": npy(PARTS[0]), "1.h5": b"\x89HDF\r\n\x1a\n"}, r"member '1\.h5' is not read"),
        ({"0.npy": npy(PARTS[0]), "1.npy": b"junk"}, r"member '1\.npy' is not read"),
        ({"0.npy": npy(PARTS[0]), "1.npy": npy(PARTS[1])[:-4]}, r"'1\.npy': .*truncated"),
        ({"0.npy": npy(PARTS[0]), "1.npy": npy(PARTS[1].half())}, "expected one dtype"),
        ({"0.npy": npy(PARTS[0]), "1.npy": npy(PARTS[1][:, :4])}, "rows of 4|one width"),
        ({"0.npy": npy(PARTS[0]), "0.pt": pt(PARTS[1])}, "two members are called '0'"),
        ({"0.npy": npy(PARTS[0]), "1.npy": npy(np.array([[{}]], object))}, "pickle"),
        (
            {"0.acts.npy": npy(PARTS[0]), "0.ids.npy": npy(np.arange(3)), "1.acts.npy": npy(PARTS[1])},
            "entry 1|several",
        ),
        ({"a.txt": b"1"}, r"without arrays; it holds 'a\.txt'"),
        ({}, "without arrays"),
    ],
)
def test_what_is_not_read_or_does_not_fit_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    path = packed(tmp_path / "a.tar", members)
    if not members:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        path.write_bytes(folder.tobuf() + bytes(1024))
    with pytest.raises(ShardError, match=message) as caught:
        open_one(path, 8)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", {f"{i}.npy": npy(part) for i, part in enumerate(PARTS)})
    content = path.read_bytes()
    end = max(i for i in range(0, len(content), 512) if content[i : i + 512] != bytes(512)) + 512
    for n in (600, 1000, 1024, 2048, end - 512, end - 1, end):
        path.write_bytes(content[:n])
        with pytest.raises(ShardError, match="truncated"):
            open_one(path, 8)
    path.write_bytes(content[: end + 512])
    assert same_bits(whole(open_one(path, 8)), ROWS)


def test_headers_that_lie_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", {"0.npy": npy(PARTS[0]), "1.npy": npy(PARTS[1])}, tarfile.USTAR_FORMAT)
    good = bytearray(path.read_bytes())

    def with_header(**changes: Any) -> bytes:
        info = tarfile.TarInfo.frombuf(bytes(good[:512]), "utf-8", "strict")
        for key, value in changes.items():
            setattr(info, key, value)
        return info.tobuf(tarfile.GNU_FORMAT) + bytes(good[512:])

    for content, message in (
        (with_header(size=1 << 60), "claims"),
        (with_header(size=1 << 20), "claims"),
        (with_header(type=tarfile.GNUTYPE_SPARSE), "kind"),
        (with_header(type=tarfile.BLKTYPE), "kind"),
        (with_header(type=b"x"), "pax header|claims|no tar header|a name of"),
        (bytes(good).replace(b"0.npy", b"0.npz", 1), "no tar header"),
    ):
        path.write_bytes(content)
        with pytest.raises(ShardError, match=message):
            open_one(path, 8)


def test_links_and_folders_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    secret = tmp_path / "secret.npy"
    np.save(secret, PARTS[0].numpy())
    with tarfile.open(path, "w") as archive:
        for name, kind in (("folder", tarfile.DIRTYPE), ("0.npy", tarfile.SYMTYPE), ("1.npy", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
        content = npy(PARTS[1])
        info = tarfile.TarInfo("../../2.npy")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    assert same_bits(whole(open_one(path, 8)), PARTS[1])


MASK = np.array([[1] * 6, [1, 1, 1, 1, 0, 0]])
IDS = np.arange(12).reshape(2, 6)


@pytest.mark.parametrize("write", [npy, lambda array: pt(torch.from_numpy(np.asarray(array)))])
@pytest.mark.parametrize("between", ["acts_", "acts.", "acts-", ""])
def test_masks_and_token_ids_beside_an_array_are_those_of_a_folder(tmp_path: Path, write: Any, between: str) -> None:
    acts, suffix = ROWS[:12].reshape(2, 6, 8), "npy" if write is npy else "pt"
    members = {
        f"run/acts.{suffix}": write(acts.numpy()),
        f"run/{between}attention_mask.{suffix}": write(MASK),
        f"run/{between}input_ids.{suffix}": write(IDS),
    }
    path = packed(tmp_path / "a.tar", members)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    for one in (path, tmp_path / f"run/acts.{suffix}"):
        tokens = open_one(one, 8).tokens()
        assert tokens.row_mask is not None and tokens.row_mask.tolist() == MASK.ravel().tolist()
        assert tokens.token_ids is not None and tokens.token_ids.tolist() == IDS.ravel().tolist()


@pytest.mark.parametrize("name", ["{}.npy {}_attention_mask.npy", "{}/acts.npy {}/attention_mask.npy"])
def test_each_document_has_the_mask_that_is_called_after_it_or_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    members, masks = {}, [np.arange(len(part)) < 2 for part in PARTS]
    for i, part in enumerate(PARTS):
        acts, mask = name.format(f"t{i}", f"t{i}").split()
        members |= {acts: npy(part), mask: npy(masks[i].astype(np.int64))}
    shard = open_one(packed(tmp_path / "a.tar", members), 8)
    mask = shard.tokens().row_mask
    assert same_bits(whole(shard), ROWS) and mask is not None and mask.tolist() == np.concatenate(masks).tolist()


def test_a_layer_has_its_own_mask_and_not_that_of_another_layer(tmp_path: Path) -> None:
    acts = ROWS[:12].reshape(2, 6, 8)
    members = {f"layer_{i}.npy": npy(acts + i) for i in (1, 2)}
    members |= {"layer_1_mask.npy": npy(np.ones_like(MASK)), "layer_2_mask.npy": npy(MASK)}
    path = packed(tmp_path / "a.tar", members)
    for key, expected in (("layer_1", np.ones_like(MASK)), ("layer_2", MASK)):
        mask = open_one(path, 8, {"key": key}).tokens().row_mask
        assert mask is not None and mask.tolist() == expected.ravel().tolist()
    twice = packed(tmp_path / "b.tar", {**members, "layer_1.mask.npy": npy(MASK)})
    with pytest.raises(ShardError, match=r"and another member are both 'layer_1\.mask'"):
        open_one(twice, 8, {"key": "layer_1"})
