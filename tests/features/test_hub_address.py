"""hf:// is read from: shards and SAEs of a repository, by ranges, as of one commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import encoding
import numpy as np
import pytest
from encoding import Command, Site
from hub_server import HubServer

from encoder.errors import InputError
from encoder.stores.address import Address, place_of
from encoder.stores.opened import open_store

TOKEN = "hf_VERYSECRETTOKEN"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("NO_PROXY", "*")
        yield hub


@pytest.fixture
def acts(hub: HubServer, site: Site) -> dict[str, bytes]:
    files = {}
    for seed, name in enumerate(("a", "deep/b")):
        path = site.acts / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, encoding.planted(60, site.weights, seed=seed).numpy())
        files[f"layer_3/{name}.npy"] = path.read_bytes()
    hub.files["datasets/owner/acts"] = {"README.md": b"for people", **files}
    return hub.files["datasets/owner/acts"]


@pytest.mark.parametrize(
    ("named", "bucket", "key"),
    [
        ("hf://owner/name", "owner/name", ""),
        ("hf://owner/name/deep/a.npy", "owner/name", "deep/a.npy"),
        ("hf://datasets/owner/name@v1/a.npy", "datasets/owner/name@v1", "a.npy"),
        ("hf://owner/name@refs%2Fpr%2F1/a", "owner/name@refs%2Fpr%2F1", "a"),
    ],
)
def test_an_address_names_a_repository_a_revision_and_a_path(named: str, bucket: str, key: str) -> None:
    assert place_of(named) == Address("hf", bucket, key) and str(place_of(named)) == named


@pytest.mark.parametrize("named", ["hf://owner", "hf://datasets/owner", "hf://o/n/../x", "hf://user:pass@host/x/y@z"])
def test_what_names_no_repository_is_refused(named: str) -> None:
    with pytest.raises(InputError, match="hf://"):
        place_of(named)


@pytest.mark.parametrize("revision", ["", "@v1"])
def test_a_run_on_a_dataset_gives_the_features_of_its_files(
    hub: HubServer, acts: dict[str, bytes], site: Site, encode: Command, revision: str
) -> None:
    address = f"hf://datasets/owner/acts{revision}/layer_3"
    flags = ("--out", site.out, "--sae-path", site.params, "--quiet", "--json")
    assert encode("run", site.acts, "--out", site.folder / "truth", *flags[2:]).status == 0
    ended = encode("run", address, *flags)
    assert ended.status == 0 and json.loads(ended.out)["done"] == 2, ended
    for name in ("a", "deep__b"):
        assert (
            encoding.read(site.out / f"{name}.npz") != encoding.read(site.folder / "truth" / f"{name}.npz")
        ).nnz == 0
    assert encoding.meta(site.out / "deep__b.npz")["shard_path"] == f"{address}/deep/b.npy"
    assert json.loads(encode("run", address, *flags).out)["skipped"] == 2


def test_an_sae_is_brought_into_the_cache_once(
    hub: HubServer, acts: dict[str, bytes], site: Site, encode: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAEFETCH_CACHE_DIR", str(tmp_path / "cache"))
    hub.files["owner/saes"] = {"layer_3/params.npz": site.params.read_bytes()}
    address = "hf://owner/saes/layer_3/params.npz"
    for out in ("one", "two"):
        ended = encode("run", site.acts, "--out", site.folder / out, "--sae-path", address, "--quiet")
        assert ended.status == 0, ended
    assert sum("/resolve/" in path for path in hub.requests) == 1
    assert encoding.meta(site.folder / "two" / "a.npz")["sae_path"] == address


def test_a_repository_that_needs_a_token_says_so_and_shows_none(
    hub: HubServer, acts: dict[str, bytes], site: Site, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = TOKEN
    run = ("run", "hf://datasets/owner/acts/layer_3", "--out", site.out, "--sae-path", site.params, "--quiet")
    encode(*run).refused("hf://datasets/owner/acts", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ended = encode(*run, "--json")
    assert ended.status == 0, ended
    written = b"".join(path.read_bytes() for path in site.out.rglob("*") if path.is_file())
    assert TOKEN not in ended.out + ended.err and TOKEN.encode() not in written


def test_what_is_not_there_is_one_line_and_nothing_is_written_to(
    hub: HubServer, acts: dict[str, bytes], site: Site, encode: Command
) -> None:
    flags = ("--sae-path", site.params, "--quiet")
    for named in ("hf://datasets/owner/none/x", "hf://datasets/owner/acts@v9/layer_3"):
        encode("run", named, "--out", site.out, *flags).refused(
            named.partition("/x")[0], "no such repository or revision"
        )
    encode("run", "hf://datasets/owner/acts/none", "--out", site.out, *flags).refused("there is no such file")
    encode("run", site.acts, "--out", "hf://owner/out", *flags).refused("hf://", "not written to")
    with pytest.raises(FileNotFoundError):
        open_store("hf://datasets/owner/acts").read("none")
