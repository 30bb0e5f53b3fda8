"""`status` and `verify` must see every kind of damage, and blame nothing that is sound."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from saefetch.downloading.outcome import Outcome
from saefetch.downloading.run import run_jobs
from saefetch.inventory import check, folders, progress
from saefetch.names.identity import Target
from saefetch.settings import Settings
from saefetch.terminal.progress import Display
from standin import Fault, Respond, Standin, World

TARGET = Target("release", "layer_1/width", "gemma-2-2b/16-gemmascope-res-16k", 60)


def download(data_dir: Path, standin: Standin, target: Target = TARGET, **knobs: Any) -> Outcome:
    settings = Settings(
        data_dir=data_dir,
        api_url=standin.api_url,
        export_url=standin.export_url,
        requests_per_second=5000,
        max_attempts=1,
        **({"batch_size": 20} | knobs),
    )
    return asyncio.run(run_jobs([target], settings, Display()))[0]


def make_world() -> World:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 60, missing=[3], absent_from_export=[4])
    return world


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("finished")
    with Standin(make_world()) as standin:
        assert download(data_dir, standin).exit_status == 0
    return TARGET.folder(data_dir)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A finished download to be damaged."""
    copy = TARGET.folder(tmp_path)
    shutil.copytree(finished, copy)
    return copy


def sql(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "labels.sqlite")) as connection, connection:
        connection.execute(statement)


def test_a_finished_download_is_sound_and_complete(folder: Path) -> None:
    assert check(folder) == []
    found = progress(folder)
    assert (found.state, found.total_features, found.successful, found.missing) == ("complete", 60, 59, 1)
    assert (found.failed, found.remaining) == (0, 0)
    assert (found.sae_release, found.sae_id, found.neuronpedia_id) == (
        TARGET.release,
        TARGET.sae_id,
        TARGET.neuronpedia_id,
    )


def test_looking_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    check(folder), progress(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def flip(path: Path, where: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)


def poke(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def edit_metadata(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a flipped bit at the start": (lambda f: flip(f / "feature_labels.json", 0), "feature_labels.json", "near byte 0"),
    "a flipped bit in the middle": (lambda f: flip(f / "feature_labels.json", 0.5), "feature_labels.json", "near byte"),
    "a flipped bit at the end": (lambda f: flip(f / "feature_labels.json", 0.9999), "feature_labels.json", "near byte"),
    "cut": (
        lambda f: (f / "feature_labels.json").write_bytes((f / "feature_labels.json").read_bytes()[:-9]),
        "feature_labels.json",
        "near byte",
    ),
    "empty": (lambda f: (f / "feature_labels.json").write_bytes(b""), "feature_labels.json", "near byte 0"),
    "too long": (
        lambda f: (f / "feature_labels.json").open("ab").write(b"\n"),
        "feature_labels.json",
        "after its end",
    ),
    "no labels file": (lambda f: (f / "feature_labels.json").unlink(), "feature_labels.json", "not there"),
    "no metadata": (lambda f: (f / "metadata.json").unlink(), "metadata.json", "not there"),
    "metadata no JSON": (lambda f: (f / "metadata.json").write_text("{"), "metadata.json", "not valid JSON"),
    "metadata no object": (lambda f: (f / "metadata.json").write_text("[]"), "metadata.json", "not a JSON object"),
    "metadata empty": (lambda f: (f / "metadata.json").write_text("{}"), "metadata.json", "sae_info, stats"),
    "a wrong count": (lambda f: edit_metadata(f / "metadata.json", missing=0), "metadata.json", "missing not as"),
    "wrong flat count": (lambda f: edit_metadata(f / "metadata.json", failed=9), "metadata.json", "failed not as"),
    "a wrong name": (lambda f: edit_metadata(f / "metadata.json", release="x"), "metadata.json", "release not as"),
    "wrong stats": (lambda f: edit_metadata(f / "metadata.json", stats={}), "metadata.json", "stats not as"),
    "no source": (lambda f: edit_metadata(f / "metadata.json", source=None), "metadata.json", "source not as"),
    "a label changed in the store": (
        lambda f: sql(f, "UPDATE explanations SET text = text || '!' WHERE idx = 7"),
        "feature_labels.json",
        "near byte",
    ),
    "a feature lost from the store": (
        lambda f: sql(f, "DELETE FROM features WHERE idx = 7"),
        "feature_labels.json",
        "near byte",
    ),
    "a number changed in the store": (
        lambda f: sql(f, "UPDATE features SET max_activation = 0.125 WHERE idx = 7"),
        "feature_labels.json",
        "near byte",
    ),
    "a store of impossible width": (
        lambda f: sql(f, "UPDATE meta SET value = 1e18 WHERE name = 'num_features'"),
        "labels.sqlite",
        "damaged",
    ),
    "a store without a width": (lambda f: sql(f, "DELETE FROM meta WHERE name = 'num_features'"), "labels.sqlite", ""),
    "text that is no UTF-8": (
        lambda f: sql(f, "UPDATE explanations SET text = CAST(x'ff' AS TEXT) WHERE idx = 7"),
        "",
        "",
    ),
    "a store cut short": (
        lambda f: (f / "labels.sqlite").write_bytes((f / "labels.sqlite").read_bytes()[:8192]),
        "labels.sqlite",
        "damaged",
    ),
    "an empty store file": (lambda f: (f / "labels.sqlite").write_bytes(b""), "labels.sqlite", ""),
    "no database at all": (lambda f: (f / "labels.sqlite").write_text("x" * 5000), "labels.sqlite", "damaged"),
    "somebody else's database": (lambda f: sql(f, "PRAGMA application_id = 7"), "labels.sqlite", "not one of saefetch"),
    "a newer schema": (lambda f: sql(f, "PRAGMA user_version = 99"), "labels.sqlite", "newer"),
    "a table lost": (lambda f: sql(f, "DROP TABLE features"), "labels.sqlite", ""),
    "a free list of the wrong length": (
        lambda f: poke(f / "labels.sqlite", 36, b"\0\0\0\5"),
        "labels.sqlite",
        "damaged",
    ),
    "no store": (lambda f: (f / "labels.sqlite").unlink(), "labels.sqlite", "not there"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_sees_the_damage_and_names_the_file(damage: str, folder: Path) -> None:
    harm, file_name, said = DAMAGE[damage]
    harm(folder)
    problems = check(folder)
    assert problems and all("\n" not in problem and str(folder) in problem for problem in problems)
    assert any(file_name in problem and said in problem for problem in problems), problems


@pytest.mark.parametrize("page", range(1, 12))
def test_verify_sees_a_page_of_the_store_overwritten(page: int, folder: Path) -> None:
    path = folder / "labels.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 * page : 4096 * (page + 1)] = bytes(4096)
    path.write_bytes(data)
    assert check(folder)


@pytest.mark.parametrize("damage", DAMAGE)
def test_status_survives_the_damage(damage: str, folder: Path) -> None:
    DAMAGE[damage][0](folder)
    assert progress(folder).state in ("complete", "incomplete", "unreadable")


def test_status_says_that_a_store_is_unreadable_and_why(folder: Path) -> None:
    (folder / "labels.sqlite").write_text("x" * 5000)
    found = progress(folder)
    assert (found.state, found.sae_release) == ("unreadable", "release") and "damaged" in found.next_step


@pytest.mark.parametrize("name", ["feature_labels.json", "metadata.json"])
def test_a_download_mends_a_file_that_verify_had_removed(name: str, folder: Path) -> None:
    good = (folder / name).read_bytes()
    (folder / name).unlink()
    with Standin(make_world()) as standin:
        outcome = download(folder.parents[1], standin)
        assert outcome.exit_status == 0 and not standin.requests, "from the store, without a request"
    assert (folder / name).read_bytes() == good and check(folder) == []


def test_failed_features_are_incomplete_and_to_be_fetched_again(tmp_path: Path) -> None:
    fault = Fault(
        Respond(500),
        match=lambda record: record.method == "POST" and any(feature["index"] == 25 for feature in record.json()),
        times=None,
    )
    with Standin(make_world(), faults=[fault]) as standin:
        assert download(tmp_path, standin, source="batch").exit_status == 1
    found = progress(TARGET.folder(tmp_path))
    assert (found.state, found.failed) == ("incomplete", 1)
    assert found.next_step == "fetch 1 features, 1 of which failed before"
    assert [problem for problem in check(TARGET.folder(tmp_path)) if "not finished" in problem]


def test_an_export_half_read_is_incomplete_though_all_its_features_are_here(folder: Path) -> None:
    sql(folder, "UPDATE meta SET value = 1 WHERE name = 'export_open'")
    found = progress(folder)
    assert (found.state, found.successful) == ("incomplete", 59)
    assert found.next_step == "fetch the rest of the export (2 of its objects are here)"


def test_only_folders_with_a_store_count_in_the_order_of_their_names(tmp_path: Path, finished: Path) -> None:
    for name in ("b/y", "a/z", "a/x"):
        shutil.copytree(finished, tmp_path / name)
    (tmp_path / "c/empty").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert list(folders(tmp_path)) == [tmp_path / "a/x", tmp_path / "a/z", tmp_path / "b/y"]
    assert list(folders(tmp_path / "nowhere")) == []


def test_what_the_registry_does_not_know_must_be_named_to_resume(folder: Path) -> None:
    named = ["--neuronpedia-id", TARGET.neuronpedia_id, "--num-features", "60"]
    assert progress(folder).flags == ["--sae-release", "release", "--sae-id", "layer_1/width", *named]
    sql(folder, "UPDATE meta SET value = 'gemma-scope-2b-pt-res-canonical' WHERE name = 'release'")
    sql(folder, "UPDATE meta SET value = 'layer_16/width_16k/canonical' WHERE name = 'sae_id'")
    assert progress(folder).flags[4:] == ["--num-features", "60"]
