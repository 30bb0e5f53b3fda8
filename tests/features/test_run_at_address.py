"""`sae-encode run` from a bucket to a bucket: the same features, each shard read once, one line for each fault."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import encoding
import numpy as np
import pytest
from encoding import Command, Ended, Site
from s3_server import S3Server, tag

import encoder
from encoder.errors import ShardError
from encoder.file.csr import Csr, CsrWriter
from encoder.sae.load import load_sae
from encoder.stores import object_store
from encoder.stores.object_path import path_of
from encoder.work.room import check_fits
from saefetch.errors import MissingExtraError

ACTS, OUT = "s3://bucket/acts", "s3://bucket/features"
SECRETS = ("AKIAVERYSECRET", "wJalrVERYSECRET")


@pytest.fixture
def shards(site: Site, server: S3Server) -> Path:
    """Write three shards to a folder of this machine, and to the bucket."""
    for seed, name in enumerate(("a", "deep/b", "deep/c")):
        path = site.acts / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, encoding.planted(400, site.weights, seed=seed).numpy())
    np.save(site.acts / "a_input_ids.npy", np.arange(400))
    upload(server, site.acts)
    return site.acts


def upload(server: S3Server, folder: Path) -> None:
    for path in folder.rglob("*.npy"):
        server.objects[f"acts/{path.relative_to(folder).as_posix()}"] = path.read_bytes()


def run(encode: Command, site: Site, *more: object, acts: object = ACTS, out: object = OUT) -> Ended:
    return encode("run", acts, "--out", out, "--sae-path", site.params, "--quiet", *(more or ("--json",)))


def arrays_of(path: Path) -> dict[str, bytes]:
    with np.load(path) as members:
        return {name: members[name].tobytes() for name in members.files if name != "meta"}


def test_from_bucket_to_bucket_the_arrays_are_those_of_a_folder_and_meta_says_the_address(
    server: S3Server, site: Site, shards: Path, encode: Command, tmp_path: Path
) -> None:
    assert run(encode, site, acts=shards, out=site.out).status == 0
    ended = run(encode, site)
    assert ended.status == 0, ended
    got = tmp_path / "got"
    got.mkdir()
    for name, key in (("a", "acts/a.npy"), ("deep__b", "acts/deep/b.npy"), ("deep__c", "acts/deep/c.npy")):
        path = got / f"{name}.npz"
        path.write_bytes(server.objects[f"features/{name}.npz"])
        assert arrays_of(path) == arrays_of(site.out / f"{name}.npz")
        meta, data = encoding.meta(path), server.objects[key]
        assert (meta["shard_path"], meta["shard_size"], meta["shard_etag"], meta["shard_sha256"]) == (
            f"s3://bucket/{key}", len(data), tag(data), hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
        assert "shard_mtime_ns" not in meta
        assert meta.keys() - {"shard_etag"} == encoding.meta(site.out / f"{name}.npz").keys() - {"shard_mtime_ns"}
    assert "token_ids" in arrays_of(got / "a.npz")
    assert not any(secret in ended.out + ended.err + repr(server.objects) for secret in SECRETS)


def test_a_second_run_of_the_same_objects_on_another_out_gives_equal_bytes_and_the_same_out_does_nothing(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    run(encode, site)
    assert run(encode, site, out="s3://bucket/again").status == 0
    for key in [key for key in server.objects if key.startswith("features/")]:
        assert server.objects[key] == server.objects[key.replace("features/", "again/")]
    server.requests.clear()
    summary = json.loads(run(encode, site).out)
    assert (summary["done"], summary["skipped"]) == (0, 3)
    assert {method for method, _ in server.requests} <= {"GET", "HEAD"}
    read = {key for method, key in server.requests if key.startswith("acts/") and method == "GET"}
    assert read == {"acts/a.npy", "acts/a_input_ids.npy"}, "the headers that say which file is beside which"


def test_a_shard_that_was_uploaded_again_is_the_same_by_its_hash_and_another_one_is_encoded_again(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    run(encode, site)
    server.tags["acts/a.npy"] = '"of-an-upload-in-parts-2"'
    assert json.loads(run(encode, site).out)["skipped"] == 3
    np.save(shards / "a.npy", encoding.planted(400, site.weights, seed=9).numpy())
    upload(server, shards)
    del server.tags["acts/a.npy"]
    summary = json.loads(run(encode, site).out)
    assert (summary["done"], summary["skipped"]) == (1, 2)


def test_one_object_is_an_input_and_so_are_paths_and_addresses_together(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    ended = encode(
        "run", f"{ACTS}/a.npy", shards / "deep", "--out", site.out, "--sae-path", site.params, "--quiet", "--json"
    )
    assert ended.status == 0, ended
    assert sorted(path.name for path in site.out.glob("*.npz")) == ["a.npz", "b.npz", "c.npz"]
    assert "token_ids" in arrays_of(site.out / "a.npz")


def test_each_byte_of_a_shard_comes_about_once(server: S3Server, site: Site, encode: Command) -> None:
    data = encoding.planted(120_000, site.weights).numpy()
    np.save(site.acts / "a.npy", data)
    upload(server, site.acts)
    server.n_sent.clear()
    assert run(encode, site).status == 0
    assert server.n_sent["acts/a.npy"] < 1.02 * data.nbytes + (1 << 18)


def test_an_object_that_changes_while_it_is_read_fails_in_words_and_the_others_are_done(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    server.changes_after["acts/deep/b.npy"] = 1
    ended = run(encode, site)
    summary = json.loads(ended.out)
    assert (summary["done"], summary["failed"], ended.status) == (2, 1, 1), ended
    assert "s3://bucket/acts/deep/b.npy: changed while it was read" in summary["errors"]["deep__b"]
    told = json.loads(server.objects["features/_failed/deep__b.json"])
    assert told["attempts"] == 3 and told["shard"] == "s3://bucket/acts/deep/b.npy"
    assert not any(secret in repr(told) + ended.err for secret in SECRETS)
    server.changes_after.clear()
    assert json.loads(run(encode, site).out)["done"] == 1
    assert "features/_failed/deep__b.json" not in server.objects


def test_a_store_that_is_throttling_is_asked_again_and_loses_nothing(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    server.faults += [(503, "SlowDown")] * 3
    assert run(encode, site).status == 0


def test_what_is_not_there_and_where_nobody_may_look_are_one_line_each(
    server: S3Server, site: Site, shards: Path, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(encode, site, "--workers", "1", acts="s3://bucket/none").refused("s3://bucket/none: there is no such")
    server.faults += [(403, "AccessDenied")] * 3
    run(encode, site, "--workers", "1").refused("the store refuses", "check the credentials")
    server.faults.clear()
    monkeypatch.setattr(object_store, "RETRY_S", 0.01)
    monkeypatch.setattr(object_store, "MAX_RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    run(encode, site, "--workers", "1").refused("the store does not answer")


def test_python_takes_addresses_as_the_command_does(server: S3Server, site: Site, shards: Path) -> None:
    features = encoder.encode_files(ACTS, OUT, site.params, progress=False)
    assert features.shape[0] == 1200 and [str(path) for path in features.paths] == [
        f"{OUT}/a.npz", f"{OUT}/deep__b.npz", f"{OUT}/deep__c.npz",
    ]  # fmt: skip


def test_workers_in_processes_read_and_write_addresses(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    ended = run(encode, site, "--workers", "2", "--json")
    assert ended.status == 0 and json.loads(ended.out)["done"] == 3, ended


def test_a_part_takes_its_shards_by_name_from_the_listing(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    for part, names in (("1/2", {"a", "deep__c"}), ("2/2", {"a", "deep__b", "deep__c"})):
        assert run(encode, site, "--part", part).status == 0
        there = {key for key in server.objects if key.startswith("features/") and key.endswith(".npz")}
        assert there == {f"features/{name}.npz" for name in names}


def test_shards_at_addresses_are_submitted_and_worked_on(
    server: S3Server, site: Site, shards: Path, encode: Command
) -> None:
    queue = site.folder / "queue"
    ended = encode("submit", ACTS, "--queue", queue, "--out", OUT, "--sae-path", site.params)
    assert ended.status == 0 and "3 shards submitted" in ended.out, ended
    ended = encode("work", "--queue", queue, "--quiet", "--json")
    assert ended.status == 0 and json.loads(ended.out)["done"] == 3, ended
    by_queue = {
        key: data for key, data in server.objects.items() if key.endswith(".npz") and key.startswith("features/")
    }
    assert len(by_queue) == 3 and list((queue / "outputs").iterdir()) == []
    run(encode, site, out="s3://bucket/by-run")
    assert {key.replace("by-run", "features") for key in server.objects if "by-run" in key and ".npz" in key} == set(
        by_queue
    )
    assert all(server.objects[key.replace("features", "by-run")] == data for key, data in by_queue.items())
    assert encode("submit", ACTS, "--queue", queue, "--out", OUT, "--sae-path", site.params).out.startswith("0 shards")


def test_what_a_store_says_of_credentials_is_in_no_output_ticket_or_traceback(
    server: S3Server, site: Site, shards: Path, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "RETRY_S", 0.01)
    monkeypatch.setattr(object_store, "MAX_RETRIES", 0)
    for status in (403, 500):
        server.says["acts/deep/b.npy"] = (status, f"no {' '.join(SECRETS)} ?X-Amz-Signature={SECRETS[1]}")
        ended = run(encode, site)
        summary = json.loads(ended.out)
        assert (summary["done"] + summary["skipped"], summary["failed"]) == (2, 1), ended
        told = json.loads(server.objects["features/_failed/deep__b.json"])
        assert "s3://bucket/acts/deep/b.npy" in told["error"] and told["traceback"]
        everything = ended.out + ended.err + repr(server.objects)
        assert not any(secret in everything for secret in SECRETS)


@pytest.mark.parametrize(
    ("expected_l0", "n_rows", "advice"), [(100.0, 10_000_000, "5,979,997"), (None, 10**9, "603,979,776")]
)
def test_a_result_that_one_write_does_not_take_is_refused_with_how_to_cut_the_shard(
    site: Site, expected_l0: float | None, n_rows: int, advice: str
) -> None:
    sae = replace(load_sae(sae_path=site.params), expected_l0=expected_l0)
    check_fits(Path("a.npy"), n_rows, sae, "float32", site.out / "a.npz")
    with pytest.raises(ShardError, match=rf"a\.npy: its {n_rows:,} rows.*files of at most {advice} rows"):
        check_fits(Path("a.npy"), n_rows, sae, "float32", path_of(f"{OUT}/a.npz"))
    check_fits(Path("a.npy"), n_rows // 100, sae, "float32", path_of(f"{OUT}/a.npz"))


def test_a_result_that_grows_beyond_one_write_stops_there(tmp_path: Path) -> None:
    rows = Csr(np.arange(11), np.zeros(10, np.int32), np.ones(10, np.float32), (10, 4))
    with CsrWriter(tmp_path / "a.npz", 4, max_bytes=300) as writer:
        writer.append(rows)
        with pytest.raises(ShardError, match=r"after 20 rows.*files of at most 18 rows"):
            writer.append(rows)


def test_without_obstore_the_extra_is_named_and_a_file_address_needs_none(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "encoder.stores.object_store")
    with pytest.raises(MissingExtraError, match=r"^s3://bucket needs obstore: pip install 'saefetch\[cloud\]'"):
        path_of("s3://bucket/a")
    assert path_of(tmp_path.as_uri()) == tmp_path


def test_several_saes_have_folders_of_their_own_below_the_address(
    server: S3Server, site: Site, shards: Path, encode: Command, tmp_path: Path
) -> None:
    other = encoding.save_params(tmp_path / "other.npz", encoding.dictionary(seed=5, threshold=0.5))
    both = ("--sae-path", other, "--json")
    here, there = (run(encode, site, *both, acts=acts, out=out) for acts, out in ((shards, site.out), (ACTS, OUT)))
    assert here.status == there.status == 0, there
    folders = [one["folder"] for one in json.loads(there.out)["saes"]]
    assert len(folders) == 2 and all(one["results"] == 3 for one in json.loads(there.out)["saes"])
    for folder in folders:
        with encoder.open_features(OUT, folder) as features, encoder.open_features(site.out, folder) as expected:
            assert (features[:] != expected[:]).nnz == 0 < features.nnz
    assert json.loads(run(encode, site, *both).out)["skipped"] == 3
