"""`encoder.encode_files`: what `sae-encode run` does, as a function, with its words as exceptions."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Site
from queueing import names

import encoder


def quietly(site: Site, **settings: Any) -> encoder.Features:
    inputs, out, sae = (settings.pop(name, getattr(site, name)) for name in ("acts", "out", "params"))
    return encoder.encode_files(inputs, out, sae, progress=False, **settings)


def test_a_folder_becomes_features_that_the_command_would_have_written(site: Site, encode: Command) -> None:
    site.shard("a")
    site.shard("b", seed=2)
    features = quietly(site)
    assert isinstance(features, encoder.Features) and features.shape == (60, encoding.D_SAE) and features.n_shards == 2
    by_function = site.results()
    for path in site.out.iterdir():
        path.unlink()
    assert encode("run", site.acts, "--out", site.out, "--sae-path", site.params).status == 0
    assert site.results() == by_function


def test_inputs_are_one_path_or_several_and_the_sae_is_named_or_loaded(site: Site) -> None:
    a, b = site.shard("a"), site.shard("b")
    assert quietly(site, acts=str(a)).n_shards == 1
    assert quietly(site, acts=[a, str(b)], params=encoding.load(site.params)).n_shards == 2
    assert quietly(site, acts=iter([a, b]), params=str(site.params), out=str(site.folder / "again")).n_shards == 2
    with pytest.raises(encoder.InputError, match="name at least one"):
        quietly(site, acts=[])


def test_a_keyword_does_what_its_flag_does(site: Site) -> None:
    site.keep("x", encoding.planted(9, site.weights))
    quietly(
        site,
        device="cpu",
        batch_tokens=2,
        values="float16",
        select={"key": "x"},
        axes=("token", "d"),
        backend="reference",
    )
    meta = encoding.meta(site.out / "x.npz")
    assert (meta["values"], meta["select"]) == ("float16", {"key": "x", "axes": "token,d"})
    for wrong in (
        {"workers": 0},
        {"values": "int8"},
        {"select": "layr=3"},
        {"select": {"layr": 3}},
        {"device": "tpu"},
        {"axes": "rows"},
    ):
        with pytest.raises(
            encoder.InputError, match="|".join(str(value) for value in ("0", "int8", "layr", "tpu", "rows"))
        ):
            quietly(site, **wrong)
    with pytest.raises(encoder.InputError, match="no such file or folder"):
        quietly(site, params="no/such/sae")
    with pytest.raises(encoder.InputError, match="no such file or folder"):
        quietly(site, acts="no/such/acts")


def test_shards_that_fail_are_an_error_after_all_others_are_done(site: Site) -> None:
    for name in "acd":
        site.shard(name)
    bad = encoding.planted(4, site.weights)
    bad[1, 1] = float("nan")
    site.keep("b", bad)
    with pytest.raises(encoder.EncodeError, match=r"1 of 4 shards were not encoded: b: .*row 1 holds NaN") as caught:
        quietly(site)
    outcome = caught.value.outcome
    assert (outcome["done"], outcome["shards"], list(outcome["errors"])) == (3, 4, ["b"])
    assert [name for name in names(site.out) if name.endswith(".npz")] == ["a.npz", "c.npz", "d.npz"]
    site.shard("b")
    assert quietly(site).n_shards == 4 and names(site.out) == ["a.npz", "b.npz", "c.npz", "d.npz"]


def test_what_looks_wrong_is_an_error_with_strict(site: Site) -> None:
    site.keep("a", encoding.planted(300, site.weights).flip(1))
    assert quietly(site).n_shards == 1
    with pytest.raises(encoder.EncodeError, match="does not look like the right SAE"):
        quietly(site, strict=True)


def test_progress_is_shown_or_not_or_told_to_a_function(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site.shard("a")
    site.shard("b")
    quietly(site)
    assert capfd.readouterr() == ("", "")
    encoder.encode_files(site.acts, site.folder / "shown", site.params)
    out, err = capfd.readouterr()
    assert out == "" and "a: 30 tokens, L0 1.0" in err
    calls: list[tuple[int, int, str]] = []
    encoder.encode_files(site.acts, site.folder / "called", site.params, progress=lambda *call: calls.append(call))
    assert capfd.readouterr() == ("", "")
    done = [done for done, _, _ in calls]
    assert done == sorted(done) and calls[-1][:2] == (2, 2) and any("a: 30 tokens" in text for _, _, text in calls)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_progress_function_raises_stops_the_run_and_is_raised(workers: int, site: Site) -> None:
    site.shard("a", 400)
    site.shard("b")

    def cancel(done: int, total: int, text: str) -> None:
        if "tokens/s" in text:
            raise ZeroDivisionError("cancelled by the user")

    run = {"workers": workers, "batch_tokens": 4, "backend": "reference"}
    with pytest.raises(ZeroDivisionError, match="cancelled by the user"):
        encoder.encode_files(site.acts, site.out, site.params, progress=cancel, **run)
    assert names(site.out / ".queue" / "claimed") == names(site.out / ".queue" / "failed") == []
    assert quietly(site).n_shards == 2


def test_ctrl_c_raises_after_the_job_was_put_back_and_the_same_call_resumes(site: Site) -> None:
    site.shard("a", 400)

    def press(done: int, total: int, text: str) -> None:
        if "of 400" in text and signal.getsignal(signal.SIGINT) is not before:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_files(site.acts, site.out, site.params, progress=press, batch_tokens=4)
    assert signal.getsignal(signal.SIGINT) is before
    assert names(site.out / ".queue" / "ready") == ["a.json"] and names(site.out / ".queue" / "claimed") == []
    assert quietly(site).n_shards == 1


def test_it_runs_in_a_thread_and_with_two_worker_processes(site: Site) -> None:
    for name in "abc":
        site.shard(name)
    found: list[encoder.Features] = []
    thread = threading.Thread(target=lambda: found.append(quietly(site)))
    thread.start()
    thread.join()
    assert found[0].n_shards == 3
    expected = site.results()
    other = site.folder / "other"
    quietly(site, out=other, workers=2, lease_s=7.0)
    assert {path.name: path.read_bytes() for path in other.glob("*.npz")} == expected


def test_a_worker_process_that_loads_another_sae_than_the_one_given_refuses(site: Site) -> None:
    site.shard("a")
    given = encoding.load(site.params)
    encoding.save_params(site.params, encoding.dictionary(seed=9))
    with pytest.raises(encoder.EncodeError, match="has other weights now"):
        quietly(site, params=given, workers=2)
    assert [name for name in names(site.out) if name.endswith(".npz")] == []


def test_nothing_is_left_of_a_call_that_is_refused(site: Site) -> None:
    site.shard("a")
    np.save(site.acts / "a.npy", torch.zeros(1, encoding.D_IN).numpy())
    with pytest.raises(encoder.InputError, match=r"would both become a\.npz"):
        quietly(site)
    assert not site.out.exists()
