"""--sae-path at an address: the SAE of its files, brought here once for each version of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import encoding
import pytest
from encoding import Site, make_module, save
from s3_server import S3Server

from encoder.errors import InputError
from encoder.sae.load import load_sae


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    monkeypatch.setenv("SAEFETCH_CACHE_DIR", str(tmp_path / "cache"))
    with S3Server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def n_gets(server: S3Server) -> int:
    return sum(method == "GET" and key.startswith("saes/") for method, key in server.requests)


def test_a_file_and_a_folder_are_the_saes_that_they_are_on_disk(server: S3Server, site: Site, tmp_path: Path) -> None:
    server.objects["saes/params.npz"] = site.params.read_bytes()
    folder = save(make_module(), tmp_path / "sae")
    for path in folder.iterdir():
        server.objects[f"saes/deep/sae/{path.name}"] = path.read_bytes()
    for address, path in (("s3://bucket/saes/params.npz", site.params), ("s3://bucket/saes/deep/sae", folder)):
        sae = load_sae(sae_path=address)
        assert sae.identity["sae_path"] == address
        assert sae.identity["weights_sha256"] == load_sae(sae_path=path).identity["weights_sha256"]


def test_it_comes_once_and_again_when_it_was_written_anew(server: S3Server, site: Site, tmp_path: Path) -> None:
    server.objects["saes/params.npz"] = site.params.read_bytes()
    first = load_sae(sae_path="s3://bucket/saes/params.npz")
    n = n_gets(server)
    assert n > 0 and load_sae(sae_path="s3://bucket/saes/params.npz").identity == first.identity and n_gets(server) == n
    other = encoding.save_params(tmp_path / "other.npz", encoding.dictionary(seed=5))
    server.objects["saes/params.npz"] = other.read_bytes()
    assert load_sae(sae_path="s3://bucket/saes/params.npz").identity != first.identity and n_gets(server) > n


def test_without_a_cache_it_is_loaded_all_the_same(
    server: S3Server, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEFETCH_CACHE_DIR", "")
    server.objects["saes/params.npz"] = site.params.read_bytes()
    assert load_sae(sae_path="s3://bucket/saes/params.npz").d_sae == encoding.D_SAE


def test_what_is_wrong_with_it_is_told_of_its_address(server: S3Server, site: Site) -> None:
    server.objects["saes/params.npz"] = site.params.read_bytes()[:500]
    with pytest.raises(InputError, match=r"s3://bucket/saes/params.npz") as caught:
        load_sae(sae_path="s3://bucket/saes/params.npz")
    assert "cache" not in str(caught.value)
    with pytest.raises(InputError, match=r"s3://bucket/none: there is no such file"):
        load_sae(sae_path="s3://bucket/none")
