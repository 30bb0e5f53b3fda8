"""Many processes on one folder of results: each has its part of the shards, and all have one SAE and one setting."""

from __future__ import annotations

import json
from pathlib import Path

import encoding
import numpy as np
import pytest
from encoding import Command, Site
from queueing import names

from encoder.errors import InputError, MismatchError
from encoder.work.parts import Part
from encoder.work.record import Record, settings_of
from encoder.work.submit import Input


def inputs(*named: str) -> list[Input]:
    return [Input(Path(name), Path(), name) for name in named]


@pytest.mark.parametrize("n_parts", [1, 2, 3, 5, 8])
def test_the_parts_have_each_shard_once_whatever_the_order_of_the_list(n_parts: int) -> None:
    shards = inputs("d", "a", "e", "c", "b")
    parts = [Part(number + 1, n_parts).of_inputs(shards) for number in range(n_parts)]
    assert sorted(item.name for part in parts for item in part) == ["a", "b", "c", "d", "e"]
    assert [item.name for item in Part(1, 2).of_inputs(shards)] == ["a", "c", "e"]
    assert [Part(number + 1, n_parts).of_inputs(shards[::-1]) for number in range(n_parts)] == parts


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", "", "1/99999999999"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--part .*expected I/N with I from 1 to N"):
        Part.parse(text)


def test_parts_make_what_one_run_makes(site: Site, encode: Command) -> None:
    for name in "abcde":
        site.shard(name)
    flags = ("--sae-path", site.params, "--json")
    assert encode("run", site.acts, "--out", site.out, *flags).status == 0
    whole, site.out = site.results(), site.folder / "parts"
    for number, made in ((2, ["b", "d"]), (1, ["a", "b", "c", "d", "e"])):
        ended = encode("run", site.acts, "--out", site.out, "--part", f"{number}/2", *flags)
        assert ended.status == 0 and names(site.out) == [f"{name}.npz" for name in made], ended
    assert site.results() == whole
    beyond = encode("run", site.acts, "--out", site.out, "--part", "9/9", *flags)
    assert beyond.status == 0 and (beyond.document["shards"], beyond.document["done"]) == (0, 0)
    encode("run", site.acts, "--out", site.out, "--part", "3/2", "--sae-path", site.params).refused("--part 3/2", "I/N")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--values", "float16"), ("--values float32, now it is float16",)),
        (("--exclude-first", 1), ("now it is --exclude-first 1",)),
        (("--fold-decoder-norm",), ("weights",)),
    ],
)
def test_a_part_with_another_setting_is_refused_with_what_differs(
    site: Site, encode: Command, flags: tuple[object, ...], words: tuple[str, ...]
) -> None:
    for name in "ab":
        site.shard(name)
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params)
    assert encode(*run, "--part", "1/2").status == 0
    (site.out / "a.npz").rename(site.folder / "elsewhere.npz")  # so that `_run.json` alone can tell
    encode(*run, "--part", "2/2", *flags).refused("_run.json is of a run with", *words, "choose another --out")
    assert names(site.out) == []


def test_a_shard_that_fails_leaves_why_and_is_tried_again_by_the_next_run(site: Site, encode: Command) -> None:
    site.shard("a")
    bad = site.acts / "b.npy"
    np.save(bad, np.full((3, encoding.D_IN), np.nan, np.float32))
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params)
    assert encode(*run).status == 1 and names(site.out / "_failed") == ["b.json"]
    told = json.loads((site.out / "_failed" / "b.json").read_bytes())
    assert set(told) == {"shard", "error", "traceback", "attempts", "sae", "failed_at"}
    assert told["shard"] == str(bad) and "row 0 holds NaN" in told["error"] and told["attempts"] == 1
    assert "ShardError" in told["traceback"] and told["sae"]["sae_path"] == str(site.params)
    np.save(bad, np.zeros((3, encoding.D_IN), np.float32))
    assert encode(*run).status == 0 and names(site.out) == ["a.npz", "b.npz"]


def test_what_is_said_of_a_shard_stays_when_another_shard_has_the_name(site: Site, encode: Command) -> None:
    site.shard("a")
    run = ("--out", site.out, "--sae-path", site.params)
    assert encode("run", site.acts, *run).status == 0
    other = site.folder / "other" / "a.safetensors"
    other.parent.mkdir()
    encoding.save_file({"x": encoding.planted(4, site.weights, seed=5)}, other)
    assert encode("run", other, *run).status == 1
    told = site.out / "_failed" / "a.json"
    assert json.loads(told.read_bytes())["shard"] == str(other)
    assert encode("run", site.acts, *run).status == 0 and told.exists()


def record(folder: Path, weights: str = "aa", **settings: object) -> Record:
    every = {"values": "float32", "exclude": {"tokens": [], "first": 0, "norm": None}, "select": {}} | settings
    return Record(folder, settings_of({"sae_path": "params.npz"}, weights, every))


def test_of_two_runs_that_start_at_once_the_first_decides(tmp_path: Path) -> None:
    mine, same, other = record(tmp_path), record(tmp_path), record(tmp_path, "bb")
    mine.claim()
    same.claim()
    with pytest.raises(MismatchError, match=r"the SAE params\.npz .weights aa.*now it is params\.npz .weights bb"):
        other.claim()
    same.release()
    with pytest.raises(MismatchError):
        other.claim()
    mine.release()  # it created the record, and leaves no result
    other.claim()
    (tmp_path / "a.npz").touch()
    other.release()
    assert names(tmp_path) == ["a.npz"] and (tmp_path / "_run.json").exists()


def test_a_run_whose_folder_was_taken_over_says_so_at_its_end(tmp_path: Path) -> None:
    mine, other = record(tmp_path), record(tmp_path, select={"key": "x"})
    mine.claim()
    (tmp_path / "_run.json").unlink()
    other.claim()
    (tmp_path / "a.npz").touch()
    with pytest.raises(MismatchError, match="--select key=x, now it is none"):
        mine.release()


def test_a_record_that_is_damaged_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "_run.json").write_text("[]")
    with pytest.raises(InputError, match=r"_run\.json: is damaged; remove it"):
        record(tmp_path).claim()
