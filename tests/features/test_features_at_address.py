"""Features at an address: opened by their headers, read by ranges, indexed and counted as on disk."""

from __future__ import annotations

import json
import random
from pathlib import Path

import encoding
import numpy as np
import pytest
from encoding import Command, Site
from s3_server import S3Server

import encoder
from encoder.errors import EncoderError
from encoder.file import range_array
from encoder.file.npz import Member
from encoder.file.range_array import RangeArray
from encoder.index.build import build_index
from encoder.stores.ranges import Ranges

AT = "s3://bucket/features"


@pytest.fixture
def features(server: S3Server, site: Site, encode: Command) -> Path:
    """Encode a folder of this machine, of three shards with documents and masks, and upload it."""
    generator = np.random.default_rng(0)
    for seed, shape in enumerate([(30, 20), (1, 7), (400, 5)]):
        rows = encoding.planted(shape[0] * shape[1], site.weights, seed=seed).numpy()
        np.save(site.acts / f"{seed}.npy", rows.reshape(*shape, -1))
        np.save(site.acts / f"{seed}_input_ids.npy", generator.integers(0, 50, shape))
        np.save(site.acts / f"{seed}_attention_mask.npy", generator.random(shape) > 0.1)
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet")
    assert ended.status == 0, ended
    for path in site.out.glob("*.npz"):
        server.objects[f"features/{path.name}"] = path.read_bytes()
    server.requests.clear()
    server.n_sent.clear()
    return site.out


def test_rows_tokens_and_masks_are_those_on_disk(server: S3Server, features: Path) -> None:
    with encoder.open_features(features) as here, encoder.open_features(AT) as there:
        assert (there.shape, there.nnz, there.meta) == (here.shape, here.nnz, here.meta)
        for rows in (5, slice(0, 700), slice(-3, None), [7, 2000, 2, 650], np.arange(len(here)) % 5 == 0):
            assert (there[rows] != here[rows]).nnz == 0 and there[rows].nnz == here[rows].nnz > 0
        for i in range(here.n_shards):
            assert (there.shard(i) != here.shard(i)).nnz == 0
            assert np.array_equal(there.counts(i), here.counts(i)) and there.excluded(i) == here.excluded(i)
            assert np.array_equal(there.tokens(i, 2, 5).token_ids, here.tokens(i, 2, 5).token_ids)
            assert np.array_equal(there.tokens(i).row_document, here.tokens(i).row_document)
        assert str(there.paths[0]) == f"{AT}/0.npz"


def test_to_open_a_folder_is_to_read_its_headers(
    server: S3Server, site: Site, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(site.acts / "a.npy", encoding.planted(60_000, site.weights).numpy())
    assert encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet").status == 0
    data = (site.out / "a.npz").read_bytes()
    server.objects["features/a.npz"] = data
    server.n_sent.clear()
    with encoder.open_features(AT) as there:
        assert there.shape[0] == 60_000 and server.n_sent["features/a.npz"] < 300_000 < len(data)
        before = server.n_sent["features/a.npz"]
        there[30_000]
        assert server.n_sent["features/a.npz"] - before < 3 << 20


def test_features_that_were_written_over_since_are_not_mixed_with_those_of_before(
    server: S3Server, features: Path
) -> None:
    with encoder.open_features(AT) as there:
        server.objects["features/0.npz"] = server.objects["features/1.npz"]
        with pytest.raises(EncoderError, match=r"s3://bucket/features/0.npz: (changed|was replaced)"):
            there[5]


def test_the_index_is_beside_the_features_under_the_digest_of_its_shards(
    server: S3Server, features: Path, encode: Command
) -> None:
    local = build_index(features).read_bytes()
    ended = encode("index", AT, "--json")
    assert ended.status == 0, ended
    told = json.loads(ended.out)
    (key,) = [key for key in server.objects if key.endswith(".csc")]
    assert told["path"] == f"s3://bucket/{key}" and told["state"] == "made" and told["bytes"] == len(local)
    assert server.objects[key] == local
    assert json.loads(encode("index", AT, "--json").out)["state"] == "unchanged"
    with encoder.open_index(AT) as there, encoder.open_index(features) as here:
        assert there.state == "ready" and there.nnz == here.nnz
        for feature in range(0, here.shape[1], 7):
            for a, b in zip(there.feature(feature), here.feature(feature), strict=True):
                assert np.array_equal(a, b)
            for a, b in zip(there.top(feature, 5), here.top(feature, 5), strict=True):
                assert np.array_equal(a, b)
            assert np.array_equal(there.histogram(feature)[1], here.histogram(feature)[1])
        assert np.array_equal(there.density, here.density) and np.array_equal(there.max, here.max)
        assert np.array_equal(there.document_of([0, 5, 700]), here.document_of([0, 5, 700]))


def test_other_shards_have_another_index_and_the_old_one_is_not_taken_for_it(
    server: S3Server, features: Path, encode: Command
) -> None:
    encode("index", AT)
    del server.objects["features/1.npz"]
    with pytest.raises(EncoderError, match="has no index"):
        encoder.open_index(AT)
    assert json.loads(encode("index", AT, "--json").out)["state"] == "made"
    assert len([key for key in server.objects if key.endswith(".csc")]) == 2
    with encoder.open_index(AT) as index:
        assert index.state == "ready"


def test_out_takes_the_index_to_a_folder_or_to_another_address(
    server: S3Server, features: Path, encode: Command, tmp_path: Path
) -> None:
    expected = build_index(features).read_bytes()
    for out in (tmp_path / "index", "s3://bucket/index"):
        for state in ("made", "unchanged"):
            ended = encode("index", AT, "--out", out, "--json")
            assert ended.status == 0 and json.loads(ended.out)["state"] == state, ended
        with encoder.open_index(AT, index=out) as index:
            assert index.state == "ready"
    assert (tmp_path / "index" / "features.csc").read_bytes() == expected == server.objects["index/features.csc"]


def test_stats_says_of_an_address_what_it_says_of_a_folder(server: S3Server, features: Path, encode: Command) -> None:
    here, there = (encode("stats", place, "--json") for place in (features, AT))
    assert there.status == 0 and json.loads(there.out) == json.loads(here.out), there
    encode("stats", "s3://bucket/none").refused("s3://bucket/none: has no features files", status=1)


def test_a_range_array_takes_what_an_array_takes() -> None:
    values = np.arange(100_000, dtype="<i4") * 7
    table = values[:90_000].reshape(30_000, 3)
    asked: list[int] = []

    def array_of(of: np.ndarray, offset: int = 0) -> RangeArray:
        data = bytes(offset) + of.tobytes()

        def read_range(start: int, stop: int) -> bytes:
            asked.append(stop - start)
            return data[start:stop]

        from concurrent.futures import ThreadPoolExecutor

        ranges = Ranges(read_range, len(data), ThreadPoolExecutor(4), 4096, 4)
        return RangeArray(ranges, Member(offset, of.dtype, of.shape))

    chance = random.Random(0)
    for offset in (0, 64):
        for _ in range(50):
            array = array_of(values, offset)
            start, stop = sorted(chance.sample(range(-5, len(values)), 2))
            places = np.array([chance.randrange(-len(values), len(values)) for _ in range(40)])
            assert np.array_equal(array[start:stop], values[start:stop])
            assert np.array_equal(array[places], values[places]) and array[start] == values[start]
        array = array_of(values, offset)
        mask = values % 5 == 0
        assert np.array_equal(array[mask], values[mask]) and np.array_equal(array[::-3], values[::-3])
        assert np.array_equal(array[[]], values[:0]) and np.array_equal(array[np.zeros(0, np.int64)], values[:0])
        assert np.array_equal(array.view("<u4")[5:9], values.view("<u4")[5:9]) and array.max() == values.max()
        assert np.array_equal(np.diff(array_of(values)), np.diff(values))
        two = array_of(table, offset)
        assert np.array_equal(two[4], table[4]) and np.array_equal(two[4, :2], table[4, :2]) and len(two) == 30_000
        with pytest.raises(IndexError):
            array_of(values)[len(values)]
        with pytest.raises(IndexError):
            array_of(values)[np.array([-len(values) - 1])]
    asked.clear()
    array_of(values)[10:20]
    assert sum(asked) <= 1 << 16 and range_array.GAP_BYTES > 0
