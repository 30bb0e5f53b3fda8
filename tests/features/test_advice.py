"""The last line of a run that failed: each test runs the command that it names."""

from __future__ import annotations

import shlex
from pathlib import Path

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Ended, Site
from safetensors.torch import save_file
from test_several_saes import Capture, few, hook

__all__ = ["few"]


def advised(ended: Ended, encode: Command) -> Ended:
    """Run what the last line of a failed run says."""
    assert ended.status == 1, ended
    words = shlex.split(ended.err.splitlines()[-1].partition(": ")[2])
    return encode(*words[words.index("run") :])


def test_the_advice_of_a_failed_run_is_a_command_that_works_and_says_nothing_twice(site: Site, encode: Command) -> None:
    x = encoding.planted(20, site.weights).reshape(2, 10, -1)
    np.save(site.acts / "b.npy", np.stack([x.numpy()] * 4))
    run = ("run", site.acts / "b.npy", "--out", site.out, "--sae-path", site.params, "--select", "layer=2")
    last = encode(*run).err.splitlines()[-1]
    assert last.startswith("With the way that is meant, such as --axes ") and last.count("--select layer=2") == 2
    words = last.partition(": ")[2].split()
    assert words.count("--select") == 1
    assert encode(*words[words.index("run") :]).status == 0


def test_where_other_shards_are_done_the_advice_is_for_what_failed_and_for_another_folder(
    site: Site, encode: Command
) -> None:
    """The results of one folder are all made with one --select: the same command with a flag more would be refused."""
    site.shard("a")
    hooks = {f"blocks.{n}.hook_resid_post": encoding.planted(20, site.weights, n) for n in (1, 2)}
    torch.save(hooks, site.acts / "m.pt")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params)
    assert ended.status == 1
    last = ended.err.splitlines()[-1]
    assert last.startswith("With --select blocks.1.hook_resid_post: ")
    words = shlex.split(last.partition(": ")[2])
    assert str(site.acts) not in words and str(site.acts / "m.pt") in words
    assert encode(*words[words.index("run") :]).status == 0
    assert [path.name for path in Path(f"{site.out}-selected").glob("*.npz")] == ["m.npz"]


@pytest.mark.parametrize("flags", [(), ("--part", "1/1"), ("--part=1/1",)])
def test_that_advice_works_also_into_the_folder_of_the_shards_by_parts_and_for_files_of_one_name(
    flags: tuple[str, ...], site: Site, encode: Command
) -> None:
    site.shard("a")
    for folder in ("x", "y"):
        (site.acts / folder).mkdir()
        pair = {name: encoding.planted(20, site.weights, n) for n, name in enumerate(("one", "two"))}
        torch.save(pair, site.acts / folder / "m.pt")
    ended = encode("run", "--quiet", site.acts, "--out", site.acts, "--sae-path", site.params, *flags)
    assert ended.status == 1
    words = shlex.split(ended.err.splitlines()[-1].partition(": ")[2])
    assert "--part" not in words
    assert encode(*words[words.index("run") :]).status == 0
    assert [path.name for path in Path(f"{site.acts}-selected").glob("*.npz")] == ["m.npz"]


def test_a_choice_for_one_of_several_saes_is_advised_for_that_sae_alone(few: Capture, encode: Command) -> None:
    """The first SAE has its rows already, and rows of a name that tells no place are given to none of several SAEs."""
    rows = few.rows(0)
    save_file(
        {hook(0): rows[0].contiguous(), "x": rows[1].contiguous(), "y": rows[2].contiguous()},
        few.acts / "a.safetensors",
    )
    few.shard("b")
    ended = encode("run", few.acts, "--out", few.out, *few.flags())
    again = advised(ended, encode)
    assert again.status == 0, (ended, again)
    assert [path.name for path in Path(f"{few.out}-selected").glob("*.npz")] == ["a.npz"]
    meta = encoding.meta(Path(f"{few.out}-selected/a.npz"))
    assert meta["sae_path"] == str(few.saes[1]) and meta["select"] == {"key": "x"}


def test_results_of_an_earlier_run_are_results_too(site: Site, encode: Command) -> None:
    site.shard("a")
    flags = ("--out", site.out, "--sae-path", site.params)
    assert encode("run", site.acts / "a.safetensors", *flags).status == 0
    pair = {name: encoding.planted(20, site.weights, n) for n, name in enumerate(("one", "two"))}
    torch.save(pair, site.acts / "m.pt")
    assert advised(encode("run", site.acts / "m.pt", *flags), encode).status == 0


def test_a_folder_of_another_choice_is_not_advised_and_one_of_the_same_choice_is(site: Site, encode: Command) -> None:
    site.shard("a")
    flags = ("--out", site.out, "--sae-path", site.params)
    for names in (("one", "two"), ("three", "four"), ("one", "two", "three")):
        tensors = {name: encoding.planted(20, site.weights, n) for n, name in enumerate(names)}
        torch.save(tensors, site.acts / f"{names[-1]}.pt")
        ended = encode("run", site.acts / "a.safetensors", site.acts / f"{names[-1]}.pt", *flags)
        assert advised(ended, encode).status == 0
    made = {path.name: [one.name for one in path.glob("*.npz")] for path in site.folder.glob("out-selected*")}
    assert {name: sorted(results) for name, results in made.items()} == {
        "out-selected": ["three.npz", "two.npz"],
        "out-selected2": ["four.npz"],
    }


def test_what_no_flag_mends_is_not_among_the_files_of_the_advice(site: Site, encode: Command) -> None:
    site.shard("a")
    site.keep("nan", encoding.planted(3, site.weights) * float("inf"))
    torch.save({name: encoding.planted(20, site.weights) for name in ("one", "two")}, site.acts / "m.pt")
    assert advised(encode("run", site.acts, "--out", site.out, "--sae-path", site.params), encode).status == 0
