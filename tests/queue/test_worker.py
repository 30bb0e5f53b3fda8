"""A worker on a real queue, with a real but tiny SAE: what becomes of every job, and what is left in the folders."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import encoding
import numpy as np
import pytest
import torch
from encoding import Heard, Site
from queueing import AN_HOUR_S, assert_one_state_each, names

from encoder.errors import EncoderError, InputError, MismatchError
from encoder.file.csr import check
from encoder.options import Options
from encoder.queue.claim import Claim
from encoder.queue.queue import Queue
from encoder.work.worker import Worker


def left_over(site: Site) -> list[str]:
    return [name for name in names(site.out) if not name.endswith(".npz")] if site.out.exists() else []


# Done


def test_every_shard_becomes_the_features_that_the_sae_gives(site: Site) -> None:
    rows = {name: encoding.planted(40, site.weights, seed) for seed, name in enumerate("abc")}
    for name, x in rows.items():
        site.keep(name, x)
    worker, heard = site.encode(batch_tokens=16)
    assert (worker.totals.done, worker.totals.failed, worker.totals.rows) == (3, 0, 120)
    assert names(site.out) == ["a.npz", "b.npz", "c.npz"]
    sae = encoding.load(site.params)
    for name, x in rows.items():
        found = encoding.read(site.out / f"{name}.npz")
        check(found)
        expected = encoding.truth(sae, x)
        np.testing.assert_array_max_ulp(found.toarray(), expected.float().numpy(), maxulp=1)
        np.testing.assert_array_equal(found.toarray() != 0, (expected != 0).numpy())
    assert_one_state_each(site.root, "abc")
    assert names(site.root / "done") == ["a.json", "b.json", "c.json"]
    assert heard.said("a: 40 tokens, L0 1.0", "explains 100.0%", "tokens/s")


def test_the_result_says_what_it_was_made_of(site: Site) -> None:
    path = site.shard("a", dtype=torch.bfloat16)
    site.encode()
    meta = encoding.meta(site.out / "a.npz")
    assert meta["shard_path"] == str(path) and meta["shard_size"] == path.stat().st_size
    assert meta["weights_sha256"] == encoding.load(site.params).identity["weights_sha256"]
    assert (meta["rows"], meta["n_tokens"], meta["dtype_read"], meta["values"]) == (30, 30, "bfloat16", "float32")
    assert meta["quality"]["explained_variance"] > 0.9 and meta["warning"] is None
    ticket = site.queue().ticket("done", "a")
    assert ticket is not None and ticket.result["rows"] == 30 and ticket.error is None


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_shard_and_one_of_a_single_row_are_legal(n: int, site: Site) -> None:
    site.shard("a", n)
    worker, _ = site.encode()
    assert worker.totals.done == 1 and encoding.read(site.out / "a.npz").shape == (n, encoding.D_SAE)
    assert encoding.meta(site.out / "a.npz")["quality"]["explained_variance"] is None


def test_the_bytes_do_not_depend_on_the_batches(site: Site) -> None:
    site.shard("a", 129, 0, torch.bfloat16)
    site.shard("b", 64, 1, torch.float16)
    site.shard("c", 65, 2)
    found = []
    for batch_tokens in (4096, 64, 7, 1):
        site.encode(batch_tokens=batch_tokens)
        found.append(site.results())
        shutil.rmtree(site.out)
        shutil.rmtree(site.root)
    assert len(found[0]) == 3 and all(each == found[0] for each in found)


def test_float16_values_switch_no_feature_off_and_too_large_ones_are_refused(site: Site) -> None:
    tiny = encoding.dictionary(threshold=0.0)
    encoding.save_params(site.params, tiny)
    rows = torch.cat([encoding.planted(20, tiny), encoding.planted(20, tiny) * 1e-9])
    site.keep("a", rows)
    site.encode(values="float16")
    found = encoding.read(site.out / "a.npz")
    assert found.dtype == np.float16 and (found.data > 0).all()
    exact = encoding.truth(encoding.load(site.params), rows)
    np.testing.assert_array_equal(found.astype(np.float32).toarray() != 0, (exact != 0).numpy())
    site.keep("b", encoding.planted(5, tiny) * 1e5)
    site.encode(values="float16")
    assert "does not fit" in str(site.failed("b").error) and "--values float32" in str(site.failed("b").error)
    assert names(site.out) == ["a.npz"]


# Finished before


def test_a_second_run_does_nothing_and_says_so(site: Site) -> None:
    site.shard("a")
    site.shard("b")
    site.encode()
    before = {path: path.stat().st_ino for path in site.out.iterdir()}
    worker, heard = site.encode()
    assert (worker.totals.done, worker.totals.skipped) == (0, 2) and heard.said("a: finished before")
    assert {path: path.stat().st_ino for path in site.out.iterdir()} == before


def test_a_shard_with_another_mtime_and_the_same_content_is_finished(site: Site) -> None:
    path = site.shard("a")
    site.encode()
    os.utime(path, (1, 1))
    worker, _ = site.encode()
    assert (worker.totals.done, worker.totals.skipped) == (0, 1)


def test_a_shard_with_other_content_of_the_same_size_is_encoded_again(site: Site) -> None:
    site.shard("a", seed=1)
    site.encode()
    before = site.results()
    site.shard("a", seed=2)
    worker, _ = site.encode()
    assert worker.totals.done == 1 and site.results() != before


@pytest.mark.parametrize("damage", [b"", b"not a result"])
def test_a_damaged_result_is_made_again(damage: bytes, site: Site) -> None:
    site.shard("a")
    site.encode()
    before = site.results()
    (site.out / "a.npz").write_bytes(damage)
    worker, _ = site.encode()
    assert worker.totals.done == 1 and site.results() == before


def test_paths_in_a_ticket_may_be_relative_to_the_queue(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.shard("a")
    monkeypatch.chdir("/")
    relative = replace(encoding.only(site.tickets()), shard="../acts/a.safetensors", out="../out/a.npz", extra={})
    for done, skipped in ((1, 0), (0, 1)):
        site.queue().submit([relative], again=True)
        worker, _ = site.work()
        assert (worker.totals.done, worker.totals.skipped) == (done, skipped)


# Shards that are no good


def test_a_poison_shard_ends_in_failed_with_the_traceback_and_stops_no_other(site: Site) -> None:
    for name in "acd":
        site.shard(name)
    (site.acts / "b.npy").write_bytes(b"\x93NUMPY poison")
    worker, heard = site.encode()
    assert (worker.totals.done, worker.totals.failed) == (3, 1)
    ticket = site.failed("b")
    assert ticket.attempts == 1 and "b.npy" in str(ticket.error)
    assert "Traceback" in str(ticket.traceback) and "ShardError" in str(ticket.traceback)
    assert names(site.out) == ["a.npz", "c.npz", "d.npz"] and names(site.root / "claimed") == []
    assert heard.said("b: failed in attempt 1", "b.npy")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_number_that_is_none_is_refused_with_its_row(dtype: torch.dtype, value: float, site: Site) -> None:
    rows = encoding.planted(30, site.weights).to(dtype)
    rows[17, 3] = value
    site.keep("a", rows)
    site.encode(batch_tokens=4)
    assert "row 17 holds NaN or infinity" in str(site.failed("a").error)
    assert names(site.out) == []


def test_the_largest_finite_numbers_are_fine(site: Site) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        rows = torch.zeros(2, encoding.D_IN, dtype=dtype)
        rows[0, 0], rows[1, 0] = torch.finfo(dtype).max / 2, torch.finfo(dtype).tiny
        site.keep(str(dtype), rows)
    worker, _ = site.encode()
    assert worker.totals.done == 3, [site.queue().status().failed]


def test_rows_of_another_width_are_refused(site: Site) -> None:
    site.keep("a", torch.zeros(3, encoding.D_IN + 1))
    site.encode()
    assert f"{encoding.D_IN}" in str(site.failed("a").error)


def test_a_shard_that_vanished_fails(site: Site) -> None:
    path = site.shard("a")
    site.submit()
    path.unlink()
    site.work()
    assert "a.safetensors: cannot be read: No such file" in str(site.failed("a").error)


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_shard_that_changes_while_it_is_read_is_not_published_as_it_was(how: str, site: Site) -> None:
    path = site.shard("a", seed=1)
    status = path.stat()
    changed: list[bool] = []

    def change() -> None:
        if changed:
            return
        changed.append(True)
        if how == "written":
            os.utime(path, ns=(0, status.st_mtime_ns + 1))
        else:  # the same size and mtime
            other = site.shard("other", seed=2)
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            other.replace(path)

    _, heard = site.encode(Heard(change), batch_tokens=10)
    assert heard.said("a: failed in attempt 1", "changed while it was read")
    seed = 1 if how == "written" else 2
    expected = encoding.truth(encoding.load(site.params), encoding.planted(30, site.weights, seed))
    np.testing.assert_array_max_ulp(encoding.read(site.out / "a.npz").toarray(), expected.float().numpy())


def test_a_worker_does_not_wait_for_the_hash_of_a_huge_shard_when_a_batch_fails(site: Site) -> None:
    """200 GB of holes: hashing them takes minutes, and the first row is no good."""
    n = 200 * 2**30 // (4 * encoding.D_IN)
    path = site.acts / "a.npy"
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, encoding.D_IN), np.float32)) | {
        "shape": (n, encoding.D_IN)
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.write(np.full(4, np.nan, np.float32).tobytes())
        file.truncate(start + n * encoding.D_IN * 4)
    began = time.process_time()
    site.encode(batch_tokens=100)
    assert "row 0 holds NaN" in str(site.failed("a").error)
    assert time.process_time() - began < 20


# Stopping, and losing the job


def stop_after(n: int, site: Site, **options: int) -> tuple[Worker, Heard]:
    batches: list[int] = []
    heard = Heard(lambda: batches.append(1) or (worker.stop() if len(batches) == n else None))  # type: ignore[func-returns-value]
    worker = Worker(site.queue(), Options(batch_tokens=4, **options), heard)
    worker.run()
    return worker, heard


def test_a_stopped_worker_puts_its_job_back_as_if_it_had_not_been_claimed(site: Site) -> None:
    site.shard("a")
    site.shard("b")
    site.submit()
    worker, heard = stop_after(2, site)
    assert worker.stopped and heard.said("a: put back")
    assert names(site.root / "ready") == ["a.json", "b.json"] and names(site.root / "claimed") == []
    ticket = site.queue().ticket("ready", "a")
    assert ticket is not None and (ticket.attempts, ticket.worker, ticket.error) == (0, None, None)
    assert left_over(site) == []
    worker, _ = site.work()
    assert worker.totals.done == 2


@contextmanager
def stolen(site: Site) -> Iterator[Callable[[], None]]:
    """Give what takes the job away from its worker, once, and has another one do it."""
    done: list[bool] = []
    inodes: list[int] = []

    def steal() -> None:
        if not done:
            done.append(True)
            hours_later = Queue(site.root, now=lambda: time.time() + AN_HOUR_S)
            assert hours_later.reclaim_expired() == ["a"]
            thief, _ = site.work(batch_tokens=1000)
            assert thief.totals.done == 1
            inodes.append((site.out / "a.npz").stat().st_ino)

    yield steal
    assert done and inodes == [(site.out / "a.npz").stat().st_ino], "the successor's output is still there"


def test_a_worker_that_was_taken_for_dead_drops_its_work_and_leaves_nothing(site: Site) -> None:
    site.shard("a")
    site.submit()
    with stolen(site) as steal:
        late, heard = site.work(Heard(steal), batch_tokens=4)
    assert late.totals.done == 0 and heard.said("attempt 1", "is over", "dropped")
    assert names(site.out) == ["a.npz"] and names(site.root / "done") == ["a.json"]
    assert_one_state_each(site.root, "a")
    ticket = site.queue().ticket("done", "a")
    assert ticket is not None and ticket.attempts == 2


def test_a_worker_notices_between_batches_that_its_lease_is_gone(site: Site) -> None:
    site.shard("a", 400)
    site.submit()
    with stolen(site) as steal:
        batches: list[int] = []

        def after_batch() -> None:
            batches.append(1)
            steal()
            time.sleep(0.01)

        late, heard = site.work(Heard(after_batch), batch_tokens=4, lease_s=0.1)
    assert len(batches) < 100 and late.totals.done == 0
    assert heard.said("a: ", "is over") and heard.said("a: dropped") and not heard.said("put back")
    assert names(site.out) == ["a.npz"]


def test_the_lease_is_renewed_during_a_long_shard(site: Site) -> None:
    site.shard("a", 100)
    site.submit()
    rival = Queue(site.root, lease_s=0.4)
    worker, _ = site.work(
        Heard(lambda: time.sleep(0.05) or rival.reclaim_expired()),  # type: ignore[func-returns-value]
        batch_tokens=5,
        lease_s=0.4,
    )
    assert worker.totals.done == 1


class Faulty(Queue):
    """A queue on a disk that fails: these calls of the first claim raise OSError."""

    broken: tuple[str, ...] = ()

    def claim(self) -> Claim | None:
        claim = super().claim()
        for name in self.broken if claim else ():
            setattr(claim, name, self._fail)
        self.broken = ()
        return claim

    def _fail(self, *_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")


def test_a_disk_error_while_a_job_is_moved_does_not_end_the_worker(site: Site) -> None:
    """The job's lease runs out, and it goes on from there."""
    site.shard("a")
    site.shard("b")
    site.submit()
    queue = Faulty(site.root, lease_s=0.3)
    queue.broken = ("done", "fail")
    worker, heard = site.work(queue=queue, lease_s=0.3)
    assert worker.totals.done == 2 and heard.said("a: failed in attempt 1", "Input/output error")
    assert names(site.out) == ["a.npz", "b.npz"] and names(site.root / "done") == ["a.json", "b.json"]


def test_a_disk_error_while_a_job_is_put_back_does_not_hide_that_the_worker_stopped(site: Site) -> None:
    site.shard("a")
    site.submit()
    queue = Faulty(site.root)
    queue.broken = ("put_back",)
    heard = Heard(lambda: worker.stop())
    worker = Worker(queue, Options(batch_tokens=4), heard)
    worker.run()
    assert heard.said("a: ", "Input/output error") and heard.said("a: dropped") and left_over(site) == []


def test_where_not_even_a_failure_can_be_written_down_the_worker_ends_and_a_later_one_goes_on(site: Site) -> None:
    site.shard("a")
    site.submit()
    heard = Heard()
    room_for_a_claim = (site.root / "ready" / "a.json").stat().st_size + 150
    with (
        files_of_at_most(room_for_a_claim),
        pytest.raises(EncoderError, match="cannot be written: File too large; finished shards"),
    ):
        site.work(heard)
    assert heard.said("a: failed in attempt 1", "its result cannot be written: File too large; make room")
    worker, _ = site.work(queue=Queue(site.root, lease_s=0.05), lease_s=0.05)
    assert worker.totals.done == 1 and names(site.out) == ["a.npz"]


def test_where_not_even_a_claim_can_be_written_down_the_worker_ends_and_a_later_one_goes_on(site: Site) -> None:
    site.shard("a")
    site.submit()
    with files_of_at_most(10), pytest.raises(EncoderError, match="cannot be written: File too large; finished shards"):
        site.work()
    worker, _ = site.work(queue=Queue(site.root, lease_s=0.05), lease_s=0.05)
    assert worker.totals.done == 1 and names(site.out) == ["a.npz"]


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_fails_the_shard_that_does_not_fit_and_leaves_nothing_of_it(site: Site) -> None:
    site.shard("large", 4000)
    site.shard("small", 20)
    site.submit()
    with files_of_at_most(20_000):
        worker, _ = site.work()
    assert worker.totals.done == 1 and "File too large" in str(site.failed("large").error)
    assert names(site.out) == ["small.npz"] and names(site.root / "claimed") == []
    site.queue().retry()
    site.work()
    assert names(site.out) == ["large.npz", "small.npz"]


def test_a_folder_that_cannot_be_written_fails_the_job(site: Site) -> None:
    site.shard("a")
    site.out.write_text("a file where the folder should be")
    site.encode()
    assert "out" in str(site.failed("a").error) and site.out.is_file()


def test_a_folder_in_the_place_of_the_result_fails_the_job(site: Site) -> None:
    site.shard("a")
    (site.out / "a.npz").mkdir(parents=True)
    worker, _ = site.encode()
    assert "could not be published" in str(site.failed("a").error) and names(site.out) == ["a.npz"]
    assert worker.totals.done == 0


# Settings that do not fit


def test_other_values_than_those_of_the_results_stop_the_worker_and_put_the_job_back(site: Site) -> None:
    site.shard("a")
    site.encode()
    before = site.results()
    site.shard("b")
    site.submit()
    with pytest.raises(MismatchError, match=r"values 'float32', now it is 'float16'"):
        site.work(values="float16")
    assert names(site.root / "ready") != [] and names(site.root / "claimed") == names(site.root / "failed") == []
    assert site.results() == before


def test_a_ticket_of_another_sae_fails_alone_with_what_differs(site: Site) -> None:
    site.shard("a")
    site.encode()
    other = encoding.save_params(site.folder / "other.npz", encoding.dictionary(seed=9))
    site.shard("b")
    site.shard("c")
    of_b, of_c = (one for one in site.tickets() if one.job != "a")
    site.queue().submit([replace(of_b, sae={**site.sae, "sae_path": str(other)}), of_c])
    worker, _ = site.work()
    assert worker.totals.done == 1 and names(site.out) == ["a.npz", "c.npz"]
    assert "weights_sha256" in str(site.failed("b").error) and "choose another --out" in str(site.failed("b").error)


def test_the_sae_that_is_given_is_used_for_its_own_tickets_only(site: Site) -> None:
    other = encoding.save_params(site.folder / "other.npz", encoding.dictionary(seed=9))
    site.shard("a")
    site.submit(sae={**site.sae, "sae_path": str(other)})
    worker = Worker(site.queue(), Options(), Heard(), saes=[encoding.load(site.params)])
    worker.run()
    assert encoding.meta(site.out / "a.npz")["sae_path"] == str(other)


@pytest.mark.parametrize("sae", [{}, {"sae_path": "/no.npz"}, {"sae_path": 5}, {"sae_release": "x", "sae_id": "y"}])
def test_a_ticket_whose_sae_cannot_be_loaded_fails(sae: dict[str, object], site: Site) -> None:
    site.shard("a")
    site.shard("b")
    first, second = site.tickets()
    site.queue().submit([replace(first, sae=sae), second])
    worker, _ = site.work()
    assert worker.totals.done == 1 and site.failed("a").error


def test_a_device_that_is_not_there_is_refused_before_any_work(site: Site) -> None:
    site.shard("a")
    site.submit()
    for device in ("tpu", "meta", "cuda:99"):
        with pytest.raises(InputError, match=device):
            site.work(device=device)
    assert names(site.root / "ready") == ["a.json"]


def test_a_backend_that_cannot_do_the_sae_stops_the_worker_and_puts_the_job_back(site: Site) -> None:
    site.shard("a")
    folder = encoding.save(encoding.make_module("gated"), site.folder / "gated")
    site.submit(sae={**site.sae, "sae_path": str(folder)})
    with pytest.raises(MismatchError, match="gated SAEs have no exact rule"):
        site.work(backend="cpu")
    ticket = site.queue().ticket("ready", "a")
    assert ticket is not None and ticket.attempts == 0
    _, heard = site.work()
    assert heard.said("note: gated", "sae.encode") and names(site.out) == ["a.npz"]


def test_an_sae_that_another_try_cannot_mend_is_tried_once(site: Site) -> None:
    site.shard("a")
    folder = encoding.save(encoding.make_module("standard"), site.folder / "sae")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"input_scale": 2}))
    site.submit(sae={**site.sae, "sae_path": str(folder)})
    worker, heard = site.work()
    assert (site.failed("a").attempts, worker.totals.failed) == (1, 1)
    assert "'input_scale'" in str(site.failed("a").error) and heard.said("a: failed in attempt 1")


def test_an_sae_that_could_not_be_downloaded_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("encoder.sae.from_registry.hf_hub_download", no_network)
    site.shard("a")
    site.submit(sae={"sae_release": "someone/saes", "sae_id": "layer_1", "sae_path": None})
    worker, heard = site.work()
    assert (site.failed("a").attempts, worker.totals.failed) == (3, 3)
    assert heard.said("a: failed in attempt 3") and "could not be downloaded" in str(site.failed("a").error)


# Is it the right SAE?


def test_activations_of_another_layer_are_said_to_be_and_are_an_error_with_strict(site: Site) -> None:
    site.keep("a", encoding.planted(300, site.weights).flip(1))
    worker, heard = site.encode()
    assert heard.said("warning: a.safetensors", "does not look like the right SAE", "Another layer, hook or model")
    assert len(worker.totals.warnings) == 1 and encoding.meta(site.out / "a.npz")["warning"]
    _, heard = site.encode(strict=True)
    assert "does not look like the right SAE" in str(site.failed("a").error), "finished before, but with a warning"
    shutil.rmtree(site.out)
    site.encode(strict=True)
    assert names(site.out) == []


def test_a_malformed_ticket_goes_to_failed_and_the_rest_is_done(site: Site) -> None:
    site.shard("a")
    site.submit()
    (site.root / "ready" / "b.json").write_bytes(b"{ garbage")
    (site.root / "ready" / "notes.txt").write_text("not a ticket")
    worker, _ = site.work()
    assert worker.totals.done == 1 and names(site.root / "failed") == ["b.json"]
    assert "not JSON" in site.queue().status().failed["b"]
