"""One worker of a cluster, as the object that an actor is made of: what it returns, and what it leaves on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoding import D_IN, Site, noise

import saefetch
from encoder.engines.cluster.actor import Encoder
from encoder.engines.cluster.attempt import Attempt
from encoder.engines.cluster.letters import Card, Receipt, brief_of, letter_of
from encoder.engines.cluster.strays import remove_strays
from encoder.file.beside import RUN
from encoder.options import Options
from encoder.queue.publish import Unpublished
from encoder.queue.ticket import Ticket


@contextmanager
def worker_on(site: Site, *tickets: Ticket, **other: Any) -> Iterator[Encoder]:
    site.out.mkdir(exist_ok=True)
    (site.out / RUN).write_text("{}")
    about = {"run": "ab", "version": saefetch.__version__, "place": str(site.out), "roots": [str(site.acts)]}
    worker = Encoder(*brief_of(Options(**other.pop("options", {})), tickets or site.tickets(), **about | other))
    yield worker
    worker.close()


def prepared(worker: Encoder) -> Card:
    return Card.from_json(worker.prepare("node"))


def encoded(worker: Encoder, ticket: Ticket) -> Receipt:
    return Receipt.from_json(worker.encode(letter_of(replace(ticket, attempts=1))))


def test_a_worker_encodes_shard_after_shard_and_leaves_results_only(site: Site) -> None:
    site.shard("a"), site.shard("b", 40)
    site.encode()
    expected = site.results()
    for path in site.out.glob("*.npz"):
        path.unlink()
    with worker_on(site) as worker:
        card = prepared(worker)
        assert not card.error and any("kernel" in line for line in card.said)
        receipts = [encoded(worker, ticket) for ticket in site.tickets()]
        assert [(one.job, one.state, one.did.rows) for one in receipts] == [("a", "done", 30), ("b", "done", 40)]
        assert len(receipts[0].to_json()) < 1000, "some hundred bytes"
        again = encoded(worker, site.tickets()[0])
        assert (again.state, again.did.skipped, again.did.done) == ("done", 1, 0), "what is there is not made again"
    assert site.results() == expected


def test_a_shard_that_is_no_good_comes_back_as_words(site: Site) -> None:
    site.keep("nan", torch.full((4, D_IN), float("nan")))
    with worker_on(site) as worker:
        prepared(worker)
        receipt = encoded(worker, site.tickets()[0])
    assert (receipt.state, receipt.for_good) == ("failed", True)
    assert "NaN" in receipt.error and "Traceback" in receipt.traceback
    assert site.results() == {}


def test_what_is_odd_about_a_shard_comes_with_its_receipt(site: Site) -> None:
    site.keep("noise", noise(200, D_IN))
    with worker_on(site) as worker:
        prepared(worker)
        receipt = encoded(worker, site.tickets()[0])
    assert any("warning: noise" in line for line in receipt.said) and receipt.did.warnings


def test_a_result_that_may_not_have_its_name_leaves_no_other_file(site: Site) -> None:
    site.out.mkdir()
    ticket = Ticket("a", str(site.shard("a")), str(site.out / "a.npz"), site.sae)
    attempt = Attempt(ticket, "1.ray-ab-01.23", Path, site.folder)
    out = attempt.place_of(ticket.targets[0])
    np.savez(out, x=np.zeros(3))
    before = out.read_bytes()
    attempt.temporary_for(out).write_bytes(b"features")
    with pytest.raises(Unpublished, match="is no result of sae-encode"):
        attempt.publish([out])
    assert site.results() == {"a.npz": before}


def test_a_worker_that_is_told_to_stop_gives_the_shard_up_and_leaves_nothing_of_it(site: Site) -> None:
    site.shard("a", 100)
    with worker_on(site, options={"batch_tokens": 8}) as worker:
        prepared(worker)
        worker.stop()
        assert encoded(worker, site.tickets()[0]).state == "stopped"
    assert site.results() == {}


def test_a_sign_says_how_far_the_shard_is_and_each_thing_once(site: Site) -> None:
    site.shard("a")
    with worker_on(site) as worker:
        prepared(worker)
        encoded(worker, site.tickets()[0])
        begun, advanced = map(json.loads, json.loads(worker.sign())["progress"])
        assert (begun["event"], begun["n_rows"]) == ("begin", 30) and advanced["progress"]["done"] == 30
        assert json.loads(worker.sign()) == {"said": [], "progress": []}


def test_a_worker_that_does_not_see_what_the_driver_sees_says_which_place(site: Site) -> None:
    site.shard("a")
    elsewhere = site.folder / "elsewhere"
    with worker_on(site, place=str(elsewhere)) as worker:
        assert f"does not see what this machine has written to {elsewhere}: --out has to be" in prepared(worker).error
    with worker_on(site, roots=[str(elsewhere)]) as worker:
        assert f"does not see {elsewhere}: INPUT has to be" in prepared(worker).error
    with worker_on(site, version="0.0.9") as worker:
        assert (
            f"has saefetch {saefetch.__version__}, and this machine 0.0.9: install the same" in prepared(worker).error
        )


def test_an_sae_that_a_machine_cannot_load_is_that_machines_fault_and_no_shards(site: Site) -> None:
    site.shard("a")
    sae = {**site.sae, "sae_path": str(site.folder / "gone.npz")}
    with worker_on(site, *site.tickets(sae=sae)) as worker:
        card = prepared(worker)
    assert "gone.npz" in card.error and "Traceback" not in card.error


def test_options_that_do_not_go_with_the_results_are_a_misfit(site: Site) -> None:
    site.shard("a"), site.shard("b")
    site.encode(values="float16")
    (site.out / "b.npz").unlink()
    with worker_on(site) as worker:
        prepared(worker)
        receipt = encoded(worker, site.tickets()[1])
    assert receipt.state == "misfit" and "values" in receipt.error


def test_the_files_of_attempts_that_were_cut_off_are_removed_and_no_others(tmp_path: Path) -> None:
    mine, others = "a.npz.1.ray-ab-0123.4567.tmp", "b.npz.2.ray-cd-0123.4567.tmp"
    finished = "c.npz.1.ray-cd-0123.4567.x.tmp"
    kept = ["a.npz", "c.npz", "c.npz.1.host-pid.89abcdef.tmp", "notes.tmp", others]
    for name in (mine, finished, *kept):
        (tmp_path / name).touch()
    remove_strays([tmp_path, tmp_path / "none"], "ab", {"c"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
