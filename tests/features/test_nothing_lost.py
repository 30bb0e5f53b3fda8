"""Nothing is lost, nothing overwritten, nothing passed over: what stands in the way is refused alone, and said."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Ended, Heard, Site
from queueing import names
from safetensors.torch import save_file
from zygote import Zygote

from encoder.file.owner import why_kept
from encoder.options import Options
from encoder.queue.queue import Queue
from encoder.work.submit import inputs_of, tickets_of
from encoder.work.watch import Watch
from encoder.work.worker import Worker


def part(site: Site, number: int, n: int = 20) -> Path:
    """Write part<number>/acts.npy, as the tasks of an array do."""
    path = site.folder / f"part{number}" / "acts.npy"
    path.parent.mkdir()
    np.save(path, encoding.planted(n, site.weights, seed=number + 1).numpy())
    return path


def assert_is_of(site: Site, shard: Path, out: Path) -> None:
    assert encoding.meta(out)["shard_path"] == str(shard)
    expected = encoding.truth(encoding.load(site.params), torch.from_numpy(np.load(shard)))
    np.testing.assert_array_equal(encoding.read(out).toarray() != 0, (expected != 0).numpy())


# The result of another shard


def test_a_run_refuses_to_replace_the_result_of_another_shard_and_a_prefix_keeps_both(
    site: Site, encode: Command
) -> None:
    first, second = part(site, 0), part(site, 1)
    flags = ("--out", site.out, "--sae-path", site.params)
    assert encode("run", first, *flags).status == 0
    before = site.results()
    site.shard("good")
    ended = encode("run", second, site.acts, *flags, "--json")
    assert ended.status == 1 and ended.document["done"] == 1, "the other shard goes on"
    (error,) = ended.document["errors"].values()
    assert str(first) in error and str(second) in error and "--prefix" in error
    assert names(site.out) == ["_failed", "acts.npz", "good.npz"] and site.results()["acts.npz"] == before["acts.npz"]
    assert encode("run", second, *flags, "--prefix", "part1").status == 0
    assert encode("run", first, *flags).status == 0
    assert_is_of(site, first, site.out / "acts.npz")
    assert_is_of(site, second, site.out / "part1__acts.npz")


@pytest.mark.parametrize("prefix", ["a/b", "", ".hidden", "n" * 200, "line\nbreak"])
def test_a_prefix_that_no_file_name_can_begin_with_is_refused(prefix: str, site: Site, encode: Command) -> None:
    site.shard("a")
    flags = ("--sae-path", site.params, "--prefix", prefix)
    encode("run", site.acts, "--out", site.out, *flags).refused("--prefix")
    encode("submit", site.acts, "--queue", site.root, *flags).refused("--prefix")


def test_of_many_runs_at_once_one_has_the_name_and_the_others_are_told(site: Site, zygote: Zygote) -> None:
    shards = [part(site, number, 200) for number in range(4)]
    flags = ("--out", site.out, "--sae-path", site.params, "--quiet")
    runs = [zygote.start("run", shard, *flags) for shard in shards]
    statuses = [run.wait() for run in runs]
    assert sorted(statuses) == [0, 1, 1, 1], [run.err for run in runs]
    winner = shards[statuses.index(0)]
    assert_is_of(site, winner, site.out / "acts.npz")
    for run, shard, status in zip(runs, shards, statuses, strict=True):
        if status:
            assert str(shard) in run.err and str(winner) in run.err and "--prefix" in run.err, run.err


@pytest.mark.parametrize("links", [True, False])
def test_a_worker_does_not_publish_over_what_another_queue_published_meanwhile(
    links: bool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    shards = [part(site, 0), part(site, 1)]
    queues = [Queue(site.folder / f"queue{number}", create=True) for number in range(2)]
    for queue, shard in zip(queues, shards, strict=True):
        queue.submit(tickets_of(inputs_of([shard]), site.out, site.sae, {}))
    rounds: list[int] = []

    def other_is_faster() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            site.work(queue=queues[1])

    worker, heard = site.work(Heard(other_is_faster), queue=queues[0], batch_tokens=5)
    assert_is_of(site, shards[1], site.out / "acts.npz")
    ticket = queues[0].ticket("failed", "acts")
    assert ticket is not None and ticket.attempts == 1 and worker.totals.done == 0
    assert str(shards[0]) in str(ticket.error) and str(shards[1]) in str(ticket.error)
    assert names(site.out) == ["acts.npz"] and heard.said("acts: ", "is the result of")


def test_threads_that_publish_at_the_same_moment_leave_one_result(site: Site) -> None:
    shards = [part(site, number) for number in range(6)]
    barrier = threading.Barrier(len(shards))
    claims = []
    for number, shard in enumerate(shards):
        queue = Queue(site.folder / f"queue{number}", create=True)
        queue.submit(tickets_of(inputs_of([shard]), site.out, site.sae, {}))
        claim = queue.claim()
        assert claim is not None
        site.out.mkdir(exist_ok=True)
        claim.temporary.write_bytes(encoded_elsewhere(site, shard))
        claims.append(claim)
    errors: list[Exception] = []

    def publish(claim: object) -> None:
        barrier.wait()
        try:
            claim.done()  # type: ignore[attr-defined]
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=publish, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == len(shards) - 1 and names(site.out) == ["acts.npz"]
    done = [number for number in range(6) if names(site.folder / f"queue{number}" / "done")]
    assert_is_of(site, shards[done[0]], site.out / "acts.npz")
    assert len(done) == 1


def encoded_elsewhere(site: Site, shard: Path) -> bytes:
    queue = Queue(site.folder / "elsewhere", create=True)
    out = site.folder / "elsewhere" / "out" / shard.parent.name
    queue.submit(tickets_of(inputs_of([shard]), out, site.sae, {}), again=True)
    Worker(queue, Options(), Heard()).run()
    return (out / "acts.npz").read_bytes()


def test_data_that_was_moved_are_finished_and_a_copy_beside_them_is_another_shard(site: Site, encode: Command) -> None:
    first = part(site, 0)
    flags = ("--out", site.out, "--sae-path", site.params, "--json")
    assert encode("run", first, *flags).status == 0
    moved = site.folder / "moved" / "acts.npy"
    shutil.move(first.parent, moved.parent)
    assert encode("run", moved, *flags).document["skipped"] == 1
    first.parent.mkdir()
    shutil.copy(moved, first)
    assert encode("run", moved, *flags).status == 1, "both are there: which of them has been encoded?"
    assert encode("run", first, *flags).document["skipped"] == 1


def test_a_link_to_the_shard_is_the_shard(site: Site, encode: Command) -> None:
    first = part(site, 0)
    (site.folder / "link").symlink_to(first.parent)
    flags = ("--out", site.out, "--sae-path", site.params, "--json")
    assert encode("run", first, *flags).status == 0
    assert encode("run", site.folder / "link" / "acts.npy", *flags).status == 0


def test_an_npz_of_the_users_own_is_never_replaced(site: Site, encode: Command) -> None:
    rows = encoding.planted(20, site.weights).numpy()
    np.savez(site.acts / "x.npz", acts=rows)
    before = (site.acts / "x.npz").read_bytes()
    ended = encode("run", site.acts / "x.npz", "--out", site.acts, "--sae-path", site.params, "--json")
    assert ended.status == 1 and "is the shard itself" in ended.document["errors"]["x"]
    np.save(site.folder / "x.npy", rows)
    ended = encode("run", site.folder / "x.npy", "--out", site.acts, "--sae-path", site.params, "--json")
    assert ended.status == 1 and "no result of sae-encode" in ended.document["errors"]["x"]
    assert (site.acts / "x.npz").read_bytes() == before


def test_who_owns_a_result(site: Site) -> None:
    shard, other = part(site, 0), part(site, 1)
    site.queue().submit(tickets_of(inputs_of([shard]), site.out, site.sae, {}))
    site.work()
    out = site.out / "acts.npz"
    sha256 = encoding.meta(out)["shard_sha256"]
    assert why_kept(site.out / "none.npz", shard, lambda: sha256) is None
    assert why_kept(out, shard, lambda: "") is None and str(other) in str(why_kept(out, other, lambda: sha256))
    shard.unlink()
    assert "take its name" in str(why_kept(out, other, lambda: ""))
    out.write_bytes(out.read_bytes()[:-100])
    assert why_kept(out, other, lambda: "") is None, "half a result is nobody's"


def test_two_inputs_of_one_name_in_one_call_are_told_how_to_keep_both(site: Site, encode: Command) -> None:
    first, second = part(site, 0), part(site, 1)
    run = encode("run", first, second, "--out", site.out, "--sae-path", site.params)
    run.refused(str(first), str(second), "would both become acts.npz", "--prefix", "a folder above both")


# One bad thing stops nothing else


def test_a_name_that_no_result_can_have_fails_alone_and_the_rest_is_done(site: Site, encode: Command) -> None:
    long, odd = "n" * 200, "line\nbreak"
    for name in ("good", long, odd):
        np.save(site.acts / f"{name}.npy", encoding.planted(9, site.weights).numpy())
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--json")
    assert ended.status == 1 and names(site.out) == ["_failed", "good.npz"]
    reasons = " ".join(ended.document["errors"].values())
    assert len(ended.document["errors"]) == 2 and "at most 180 bytes" in reasons and "control characters" in reasons
    assert "\n" not in reasons, "a name cannot break a line"
    submitted = encode("submit", site.acts, "--queue", site.root, "--sae-path", site.params)
    assert submitted.status == 1 and "1 shards submitted" in submitted.out and "2 cannot be encoded" in submitted.out
    assert encode("work", "--queue", site.root).status == 1
    assert names(site.root / "done") == ["good.json"] and len(names(site.root / "failed")) == 2
    assert "at most 180 bytes" in encode("status", "--queue", site.root).out


def test_links_that_lead_nowhere_and_in_circles_fail_alone(site: Site, encode: Command) -> None:
    site.shard("good")
    (site.acts / "self.npy").symlink_to("self.npy")
    (site.acts / "gone.npy").symlink_to("nowhere.npy")
    (site.acts / "again").symlink_to(".")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--json")
    assert ended.status == 1 and ended.document["done"] == 1
    assert sorted(ended.document["errors"]) == ["gone", "self"]


# Tried once, told once


@pytest.mark.parametrize("kind", ["NaN", "width", "select"])
def test_a_mistake_that_no_other_try_can_mend_is_tried_once_and_told_once(
    kind: str, site: Site, encode: Command
) -> None:
    rows = encoding.planted(5, site.weights)
    if kind == "NaN":
        rows[2, 1] = float("nan")
    tensors = {"x": rows[:, :7] if kind == "width" else rows} | ({"y": rows} if kind == "select" else {})
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, site.acts / "a.safetensors")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params)
    word = {"NaN": "row 2 holds NaN", "width": "the SAE takes 48", "select": "several tensors fit"}[kind]
    assert ended.status == 1 and ended.err.count(word) == 1, ended.err
    assert "failed in attempt 1" in ended.err and "attempt 2" not in ended.err
    advice = ended.err.splitlines()[-1]
    command = [*advice.partition(" run ")[2].split()]
    if kind == "select":
        assert advice.endswith("--select x")
        assert encode("run", *command).status == 0
    else:
        assert advice.startswith("Once mended: ") and command[0] == str(site.acts)
        site.shard("a")
        assert encode("run", *command).status == 0


def test_a_failed_job_is_submitted_anew_with_the_selection_that_it_lacked(site: Site, encode: Command) -> None:
    rows = encoding.planted(5, site.weights)
    save_file({"x": rows, "y": rows.clone()}, site.acts / "a.safetensors")
    submit = ("submit", site.acts, "--queue", site.root, "--sae-path", site.params)
    encode(*submit)
    ended: Ended = encode("work", "--queue", site.root)
    assert ended.status == 1 and "submit them again" in ended.err.splitlines()[-1]
    assert "0 shards submitted" in encode(*submit).out, "nothing differs"
    assert "1 shards submitted" in encode(*submit, "--select", "x").out
    assert encode("work", "--queue", site.root).status == 0


# Nothing passed over


def test_what_is_not_read_is_named_at_the_start_and_in_the_summary_and_is_an_error_with_strict(
    site: Site, encode: Command
) -> None:
    site.shard("a")
    for name in ("x.h5", "y.bin"):
        (site.acts / name).write_bytes(b"1")
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params)
    ended = encode(*run)
    assert ended.status == 0 and ended.err.count("x.h5") == ended.err.count("y.bin") == 2
    assert "2 files or folders were not read: x.h5, y.bin" in ended.err
    assert encode(*run, "--json").document["not_read"] == [str(site.acts / "x.h5"), str(site.acts / "y.bin")]
    assert "x.h5" in encode(*run, "--quiet").err
    strict = encode(*run, "--strict", "--json")
    assert strict.status == 1 and len(strict.document["errors"]) == 2 and names(site.out) == ["a.npz"]


def test_results_below_the_input_are_no_files_that_were_not_read(site: Site, encode: Command) -> None:
    site.shard("a")
    for out in (site.acts, site.acts / "features"):
        run = ("run", site.acts, "--out", out, "--sae-path", site.params, "--strict")
        assert encode(*run).status == 0
        again = encode(*run)
        assert again.status == 0 and "1 finished before" in again.out and "not read" not in again.err, again
        (out / "features.csc").write_bytes(b"an index")
        assert "not read" not in encode(*run).err
        (out / "x.h9").write_bytes(b"something else")
        assert "x.h9 is not read" in encode(*run).err
        for name in ("a.npz", "features.csc", "x.h9"):
            (out / name).unlink()


def test_what_is_not_read_is_named_by_submit_and_an_error_with_strict_but_the_rest_is_submitted(
    site: Site, encode: Command
) -> None:
    site.shard("a")
    (site.acts / "x.h5").write_bytes(b"1")
    submit = ("submit", site.acts, "--queue", site.root, "--sae-path", site.params)
    strict = encode(*submit, "--strict")
    assert strict.status == 1 and strict.err.count("x.h5 is not read") == 1 and "--strict makes that" in strict.err
    assert "1 shards submitted" in strict.out and encode("work", "--queue", site.root).status == 0
    ended = encode(*submit)
    assert ended.status == 0 and "note: " in ended.err and "x.h5 is not read" in ended.err


def test_what_is_not_read_of_a_folder_in_the_inbox_is_named(site: Site) -> None:
    (site.root / "inbox" / "part").mkdir(parents=True)
    shutil.copy(site.shard("a"), site.root / "inbox" / "part")
    (site.root / "inbox" / "part" / "x.h5").write_bytes(b"1")
    queue = site.queue()
    watch = Watch(queue, None, site.sae, {}, 0)
    said = [line for _ in range(2) for line in watch.submit_what_came(queue)]  # the first look takes nothing
    assert len(said) == 1 and said[0].startswith("note: inbox: ") and "x.h5 is not read" in said[0]
    assert [path.name for path in watch.unread] == ["x.h5"] and set(queue.states()) == {"part__a"}


def test_a_folder_of_nothing_but_files_that_are_not_read_says_so(site: Site, encode: Command) -> None:
    (site.acts / "a.npy.gz").write_bytes(b"1")
    encode("run", site.acts, "--out", site.out, "--sae-path", site.params).refused("a.npy.gz is not read: unpack it")


def test_what_failed_of_other_inputs_before_is_a_note_and_no_failure_of_this_run(site: Site, encode: Command) -> None:
    good, bad = site.shard("good"), site.keep("bad", encoding.planted(3, site.weights) * float("inf"))
    flags = ("--out", site.out, "--sae-path", site.params)
    assert encode("run", good, bad, *flags).status == 1
    site.shard("more")
    ended = encode("run", good, site.acts / "more.safetensors", *flags)
    assert ended.status == 0 and "note: of other inputs" in ended.err and "failed bad" in ended.err, ended
    assert encode("run", bad, *flags).status == 1
