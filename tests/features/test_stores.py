"""Every store keeps the same promises: a folder, obstore's memory, and an S3 server on loopback."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from s3_server import S3Server

from encoder.errors import ChangingError, InputError, UnreachableError
from encoder.stores import object_store
from encoder.stores.address import Address, place_of
from encoder.stores.folder import FolderStore
from encoder.stores.object_store import ObjectStore
from encoder.stores.opened import open_store
from encoder.stores.probe import check_conditions
from encoder.stores.store import Store


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "root")
    if request.param == "memory":
        return ObjectStore(Address("s3", "memory", "below/here"), MemoryStore())
    request.getfixturevalue("server")
    return open_store("s3://bucket/below/here")


def keys(store: Store, below: str = "") -> list[str]:
    return sorted(entry.key for entry in store.list(below))


def test_what_is_written_is_listed_and_read_by_ranges(store: Store) -> None:
    for name in ("a", "b", "deep/c", "deep/d", "deeper/e"):
        assert store.create(name, name.encode() * 3)
    assert keys(store) == ["a", "b", "deep/c", "deep/d", "deeper/e"]
    assert keys(store, "deep") == ["deep/c", "deep/d"] and keys(store, "none") == []
    entry = store.status("deep/c")
    assert entry in list(store.list()) and entry.size == 18
    assert store.read("deep/c") == b"deep/c" * 3
    assert (store.read("deep/c", 2, 6), store.read("deep/c", 12), store.read("deep/c", 15, 99)) == (
        b"ep/c", b"deep/c", b"p/c",
    )  # fmt: skip
    assert store.read("deep/c", 4, 4) == b""


def test_a_key_is_created_once_and_then_kept(store: Store) -> None:
    assert store.create("a", b"first") and not store.create("a", b"second")
    assert store.read("a") == b"first" and keys(store) == ["a"]


def test_of_all_who_create_a_key_one_wins(store: Store) -> None:
    start = threading.Barrier(8)

    def create(i: int) -> bool:
        start.wait(30)
        return store.create("a", b"%d" % i)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1 and store.read("a") == b"%d" % won.index(True)


def test_only_what_is_unchanged_is_replaced(store: Store) -> None:
    store.create("a", b"first")
    before = store.status("a").etag
    assert store.replace("a", b"second", before)
    assert not store.replace("a", b"third", before) and not store.replace("b", b"none", before)
    assert store.read("a") == b"second" and keys(store) == ["a"]


def test_an_object_that_changed_is_not_read_on(store: Store) -> None:
    store.create("a", b"first")
    before = store.status("a").etag
    assert store.read("a", 1, 3, etag=before) == b"ir"
    store.replace("a", b"second", before)
    with pytest.raises(ChangingError, match="a: changed while it was read"):
        store.read("a", 1, 3, etag=before)


def test_what_is_not_there_is_said_by_the_same_error_and_deleted_without_one(store: Store) -> None:
    for ask in (store.status, store.read):
        with pytest.raises(FileNotFoundError):
            ask("none")
    store.create("a", b"first")
    for _ in range(2):
        store.delete("a")
    assert keys(store) == []


def test_an_honest_store_passes_the_probe_which_leaves_nothing(store: Store) -> None:
    check_conditions(store)
    assert keys(store) == []


def test_a_store_that_ignores_conditions_is_refused_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server(ignores_conditions=True) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=r"^s3://bucket/out: the store ignores conditions.*If-None-Match"):
            check_conditions(open_store("s3://bucket/out"))
        assert server.objects == {}


class LosesAnswers(FolderStore):
    """Writes, and says that the key was taken; or says so and does not write."""

    def __init__(self, root: Path, answers: list[str]) -> None:
        super().__init__(root)
        self.answers = answers

    def create(self, key: str, data: bytes | mmap) -> bool:
        answer = self.answers.pop(0) if self.answers else "true"
        created = answer != "nothing" and super().create(key, data)
        return created and answer == "true"


@pytest.mark.parametrize("answers", [["lost"], ["nothing", "nothing"]])
def test_a_store_that_loses_an_answer_is_not_taken_for_one_that_ignores_conditions(
    tmp_path: Path, answers: list[str]
) -> None:
    store = LosesAnswers(tmp_path, answers)
    check_conditions(store)
    assert keys(store) == [] and answers == []
    with pytest.raises(InputError, match="says of new names that they are taken"):
        check_conditions(LosesAnswers(tmp_path, ["nothing"] * 4))


@pytest.mark.parametrize("fault", [(503, "SlowDown"), (500, "InternalError")])
def test_a_store_that_is_throttling_is_asked_again(server: S3Server, fault: tuple[int, str]) -> None:
    server.faults += [fault, fault]
    store = open_store("s3://bucket")
    assert store.create("a", b"first")
    assert store.read("a") == b"first" and len(server.requests) == 4


def test_a_create_whose_answer_was_lost_is_taken_by_itself(server: S3Server) -> None:
    store = open_store("s3://bucket")
    server.objects["a"] = b"first"
    server.faults.append((500, "InternalError"))
    assert not store.create("a", b"first") and store.read("a") == b"first"


def test_no_rights_and_no_server_are_one_line_without_credentials(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("s3://bucket/out")
    server.faults.append((403, f"AccessDenied {server.environment['AWS_ACCESS_KEY_ID']}"))
    with pytest.raises(InputError, match=r"^s3://bucket/out/a: the store refuses: .*check the credentials") as refused:
        store.read("a")
    with pytest.raises(FileNotFoundError, match="no such object"):
        open_store("s3://other/out").create("a", b"")
    server.faults.append((403, "AccessDenied"))
    with pytest.raises(InputError, match=r"^s3://bucket/out: the store refuses: "):
        list(store.list())
    for ask in (open_store("s3://other/out").folder, lambda: list(open_store("s3://other/out").list())):
        with pytest.raises(InputError, match=r"^s3://other/out: there is no such bucket"):
            ask()
    monkeypatch.setattr(object_store, "RETRY_S", 0.01)
    monkeypatch.setattr(object_store, "MAX_RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1/?sig=VERYSECRET")
    with pytest.raises(UnreachableError, match=r"^s3://bucket/out/a: the store does not answer") as gone:
        open_store("s3://bucket/out").create("a", b"")
    for caught in (refused, gone):
        assert "\n" not in str(caught.value) and "VERYSECRET" not in str(caught.value)
        assert caught.value.__suppress_context__, "a traceback would print what obstore said"


@pytest.mark.parametrize(
    ("named", "address"),
    [
        ("s3://bucket/acts/0.npy", "s3://bucket/acts/0.npy"),
        ("S3://bucket/acts/", "s3://bucket/acts"),
        (Path("gs://bucket/acts"), "gs://bucket/acts"),
        ("gcs://bucket", "gs://bucket"),
        ("az://account/container/acts", "az://account/container/acts"),
    ],
)
def test_an_address_of_a_store_has_one_form(named: str | Path, address: str) -> None:
    place = place_of(named)
    assert isinstance(place, Address) and str(place) == address and place_of(place) is place


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("s3://", "write s3://BUCKET/KEY"),
        ("s3://bucket/a//b", "without empty parts"),
        ("s3://bucket/../b", "without empty parts"),
        ("az://account", "write az://ACCOUNT/CONTAINER/KEY"),
        ("s3://user:pass@bucket/a", "credentials come from the environment"),
        ("az://account/container/a?sig=abc", "credentials come from the environment"),
    ],
)
def test_what_is_no_address_is_refused_with_the_form_of_one(named: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        place_of(named)
    assert "pass" not in str(caught.value) and "sig" not in str(caught.value)
