"""`--out` at an address: the same bytes as in a folder, published once, whatever the store answers."""

from __future__ import annotations

import json
from pathlib import Path

import encoding
import numpy as np
import pytest
from encoding import Command, Ended, Site
from s3_server import S3Server

from encoder.work.failures import Failure, remove_failures, write_failures

OUT = "s3://bucket/features/run"
SECRETS = ("AKIAVERYSECRET", "wJalrVERYSECRET")


@pytest.fixture
def shards(site: Site) -> list[str]:
    for seed, name in enumerate(("a", "b", "c")):
        np.save(site.acts / f"{name}.npy", encoding.planted(40, site.weights, seed=seed).numpy())
    return ["a", "b", "c"]


def run(encode: Command, site: Site, *more: object, out: str = OUT) -> Ended:
    return encode("run", site.acts, "--out", out, "--sae-path", site.params, "--quiet", *(more or ("--json",)))


def results(server: S3Server) -> dict[str, bytes]:
    return {key: data for key, data in server.objects.items() if key.endswith(".npz")}


def writes(server: S3Server) -> list[str]:
    return [key for method, key in server.requests if method == "PUT"]


def test_the_results_are_those_of_a_folder_byte_for_byte_and_nothing_else_is_left(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    assert run(encode, site, out=str(site.out)).status == 0
    ended = run(encode, site)
    assert ended.status == 0 and json.loads(ended.out)["out"] == OUT, ended
    assert results(server) == {f"features/run/{name}.npz": (site.out / f"{name}.npz").read_bytes() for name in shards}
    assert server.objects.keys() - results(server).keys() == {"features/run/_run.json"}
    assert server.objects["features/run/_run.json"] == (site.out / "_run.json").read_bytes()
    everything = ended.out + ended.err + repr(server.objects)
    assert not any(secret in everything for secret in SECRETS)


def test_what_is_there_is_not_done_again_and_costs_a_look_at_its_ends(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    run(encode, site)
    before = dict(server.objects)
    del server.objects["features/run/b.npz"]
    server.requests.clear()
    summary = json.loads(run(encode, site).out)
    assert (summary["done"], summary["skipped"]) == (1, 2) and server.objects == before
    assert {key for key in writes(server) if "_probe" not in key} == {"features/run/b.npz", "features/run/_run.json"}
    server.requests.clear()
    summary = json.loads(run(encode, site).out)
    assert (summary["done"], summary["skipped"]) == (0, 3) and writes(server) == []


def test_a_shard_that_changed_replaces_its_own_result(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    run(encode, site)
    before = results(server)
    np.save(site.acts / "a.npy", encoding.planted(50, site.weights, seed=7).numpy())
    assert json.loads(run(encode, site).out)["done"] == 1
    after = results(server)
    assert {key for key in after if after[key] != before[key]} == {"features/run/a.npz"}


def test_the_name_of_another_shards_result_is_refused_and_that_result_kept(
    server: S3Server, site: Site, shards: list[str], encode: Command, tmp_path: Path
) -> None:
    run(encode, site)
    before, other = results(server), tmp_path / "other"
    other.mkdir()
    np.save(other / "a.npy", encoding.planted(40, site.weights, seed=9).numpy())
    ended = encode("run", other, "--out", OUT, "--sae-path", site.params, "--quiet", "--json")
    assert ended.status == 1 and "would take its name" in json.loads(ended.out)["errors"]["a"]
    assert results(server) == before
    told = json.loads(server.objects["features/run/_failed/a.json"])
    assert told["shard"] == str(other / "a.npy") and "would take its name" in told["error"]


def test_a_run_with_another_setting_is_refused_with_what_differs(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    run(encode, site)
    run(encode, site, "--values", "float16").refused(f"{OUT}/a.npz was made with values 'float32'")
    for key in results(server):
        del server.objects[key]
    run(encode, site, "--values", "float16").refused(f"{OUT}/_run.json", "--values float32, now it is float16")


def test_a_store_that_ignores_conditions_is_refused_before_any_work(
    site: Site, shards: list[str], encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server(ignores_conditions=True) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        run(encode, site, "--workers", "1").refused(f"{OUT}: the store ignores conditions")
        submit = ("submit", site.acts, "--queue", site.folder / "queue", "--sae-path", site.params, "--out")
        encode(*submit, OUT).refused(f"{OUT}: the store ignores conditions")
        encode(*submit, "hf://owner/name/out").refused("hf:// is not written to")
        assert server.objects == {}


def test_a_shard_that_fails_leaves_its_reason_until_it_is_done(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    good = (site.acts / "b.npy").read_bytes()
    (site.acts / "b.npy").write_bytes(good[:300])
    assert run(encode, site).status == 1
    told = json.loads(server.objects["features/run/_failed/b.json"])
    assert told["shard"] == str(site.acts / "b.npy") and "truncated" in told["error"] and "Error" in told["traceback"]
    assert len(results(server)) == 2
    (site.acts / "b.npy").write_bytes(good)
    assert run(encode, site).status == 0 and len(results(server)) == 3
    assert not any("_failed" in key for key in server.objects)


def test_of_two_runs_at_once_the_second_to_publish_finds_its_shard_done(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    run(encode, site)
    done = results(server)
    for key in done:
        del server.objects[key]
    server.lands_first |= done  # they come to be just before our own writes
    ended = run(encode, site)
    assert ended.status == 0 and results(server) == done, ended


def test_a_write_that_met_another_one_and_left_nothing_is_tried_again(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    server.refuses_puts["features/run/b.npz"] = [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")]
    ended = run(encode, site)
    assert ended.status == 0 and len(results(server)) == 3, ended


def test_a_store_that_lets_nobody_write_is_one_line(
    server: S3Server, site: Site, shards: list[str], encode: Command
) -> None:
    server.faults += [(403, "AccessDenied")] * 12
    run(encode, site, "--workers", "1").refused("the store refuses", "check the credentials")


def test_what_is_said_of_a_failed_shard_is_written_over_and_removed_with_it(tmp_path: Path) -> None:
    for attempts in (1, 2):
        write_failures(tmp_path, {"a": Failure("/a.npy", "no good", {}, "", attempts)})
        assert json.loads((tmp_path / "_failed" / "a.json").read_bytes())["attempts"] == attempts
    remove_failures(tmp_path, [("a", "/other.npy")])
    assert (tmp_path / "_failed" / "a.json").exists()
    remove_failures(tmp_path, [("a", "/a.npy")])
    assert list(tmp_path.iterdir()) == []
