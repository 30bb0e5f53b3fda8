"""The stand-in for Hugging Face: its own command, asked over HTTP; test_load.py asks it with huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from hub import HubProcess

REPO = "google/gemma-scope-2b-pt-res"
PATH = "layer_16/width_16k/params.npz"


@pytest.fixture(scope="module", name="small_hub")
def make_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    root = tmp_path_factory.mktemp("hub") / "root"
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).write_bytes(b"0123456789")
    (root.parent / "secret").write_text("not in the repository")
    with HubProcess(REPO, root) as hub:
        yield hub


def url(hub: HubProcess, path: str = PATH, repo: str = REPO) -> str:
    return f"{hub.endpoint}/{repo}/resolve/main/{path}"


def test_a_head_says_what_a_download_needs(small_hub: HubProcess) -> None:
    answer = requests.head(url(small_hub), headers={"Accept-Encoding": "identity"}, timeout=120)
    assert answer.status_code == 200 and answer.headers["Content-Length"] == "10"
    assert answer.headers["ETag"] and len(bytes.fromhex(answer.headers["X-Repo-Commit"])) == 20


def test_a_file_comes_whole_or_from_where_a_download_broke_off(small_hub: HubProcess) -> None:
    assert requests.get(url(small_hub), timeout=120).content == b"0123456789"
    rest = requests.get(url(small_hub), headers={"Range": "bytes=4-"}, timeout=120)
    assert (rest.status_code, rest.content) == (206, b"456789")


def test_the_commit_changes_with_the_files(small_hub: HubProcess) -> None:
    before = requests.head(url(small_hub), timeout=120).headers["X-Repo-Commit"]
    (small_hub.root / "other").write_bytes(b"x")
    assert requests.head(url(small_hub), timeout=120).headers["X-Repo-Commit"] != before


@pytest.mark.parametrize("path", ["no/such.npz", "layer_16", "%2e%2e/secret", "..%2fsecret"])
def test_what_is_not_in_the_repository_is_not_found(small_hub: HubProcess, path: str) -> None:
    answer = requests.head(url(small_hub, path), timeout=120)
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_another_repository_is_unknown(small_hub: HubProcess) -> None:
    answer = requests.head(url(small_hub, repo="google/other"), timeout=120)
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (401, "RepoNotFound")
