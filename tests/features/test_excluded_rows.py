"""`--exclude-...` from the command line and from Python, what is told of it, and what it does to runs that go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Heard, Site

import encoder
from encoder import open_features, open_index
from encoder.errors import InputError
from encoder.queue.queue import Queue
from encoder.rows import REASONS, Exclude

N_DOCUMENTS, LENGTH = 8, 32


def own_rows(seed: int = 1) -> torch.Tensor:
    return encoding.planted(N_DOCUMENTS * LENGTH, encoding.dictionary(), seed).reshape(N_DOCUMENTS, LENGTH, -1)


def padded(site: Site) -> torch.Tensor:
    """Write half of the documents padded on the left and half on the right, with large rows there; return the mask."""
    x, mask = own_rows(), torch.ones(N_DOCUMENTS, LENGTH, dtype=torch.int64)
    mask[:4, 20:], mask[4:, :12] = 0, 0
    x[mask == 0] = encoding.noise(int((mask == 0).sum()), encoding.D_IN) * 40
    ids = torch.arange(x.shape[0] * x.shape[1]).reshape(mask.shape)
    torch.save({"hidden_states": x, "input_ids": ids, "attention_mask": mask}, site.acts / "batch.pt")
    return mask.flatten()


def sinks(site: Site, times: float = 80) -> np.ndarray[Any, Any]:
    """Write documents whose first row is of many times the usual norm; return where these rows are."""
    x = own_rows()
    x[:, 0] = encoding.noise(N_DOCUMENTS, encoding.D_IN) * times
    np.save(site.acts / "a.npy", x.numpy())
    return np.arange(N_DOCUMENTS * LENGTH) % LENGTH == 0


def run(encode: Command, site: Site, *flags: object) -> Any:
    return encode("run", site.acts, "--out", site.out, "--sae-path", site.params, *flags)


def test_padding_is_stored_and_counts_nowhere(site: Site, encode: Command) -> None:
    mask = padded(site)
    ended = run(encode, site)
    assert ended.status == 0 and "does not look like the right SAE" not in ended.err
    assert "96 rows do not count (mask 96)" in ended.err and "96 of them do not count, L0 1.0" in ended.out
    assert encode("index", site.out).status == 0
    with open_features(site.out) as features, open_index(site.out) as index:
        assert features.shape[0] == len(mask)
        assert features.meta[0]["excluded"] == {"mask": 96, "token": 0, "first": 0, "norm": 0} == features.excluded()
        truth = features[:].toarray()[mask.bool().numpy()]
        assert index.max.tolist() == truth.max(axis=0).tolist()
        assert not {int(row) for f in range(len(index)) for row in index.top(f, 9)[0]} & {*np.flatnonzero(mask == 0)}
        assert features.meta[0]["quality"]["explained_variance"] > 0.99
    told = encode("stats", site.out, "--json").document
    assert (told["rows"], told["rows_counted"], told["excluded"]["mask"]) == (256, 160, 96)
    assert told["mean_l0"] == 1.0 and told["nnz_counted"] == 160 < told["nnz"]
    assert told["dead_features"] == int((truth.max(axis=0) == 0).sum())
    assert "256 rows, 96 rows do not count (mask 96), L0 1.0" in encode("stats", site.out).out


def test_sinks_that_nobody_excluded_are_told_of_and_are_no_reason_to_refuse(site: Site, encode: Command) -> None:
    sinks(site)
    ended = run(encode, site, "--strict")
    assert ended.status == 0, ended
    assert "8 of 256 sampled rows have norms over 3 times the median" in ended.err and "--exclude-first 1" in ended.err
    quality = encoding.meta(site.out / "a.npz")["quality"]
    assert quality["explained_variance"] > 0.99 and quality["explained_variance_of_all"] < 0.3
    assert "explains 100.0% of the variance (" in encode("stats", site.out).out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--exclude-first", 1], "first"),
        (["--exclude-norm", 10], "norm"),
        (["--exclude-norm", 10, "--workers", 2], "norm"),
    ],
)
def test_sinks_are_left_out_of_every_figure_where_the_user_says_so(
    site: Site, encode: Command, flags: list[object], reason: str
) -> None:
    where = sinks(site)
    ended = run(encode, site, *flags)
    assert ended.status == 0 and f"8 rows do not count ({reason} 8)" in ended.err and "sampled rows" not in ended.err
    meta = encoding.meta(site.out / "a.npz")
    assert meta["excluded"] == dict.fromkeys(REASONS, 0) | {reason: 8}
    asked = {"first": Exclude.of(None, 1, None), "norm": Exclude.of(None, 0, 10)}[reason]
    assert meta["exclude"] == asked.document()
    assert meta["quality"]["explained_variance_of_all"] is None and meta["quality"]["mean_l0"] == 1.0
    with open_features(site.out) as features:
        assert (features.counts(0) == ~where).all() and features.shape[0] == len(where)
        assert {REASONS[why - 1] for why in features.reasons(0)[where]} == {reason}


@pytest.mark.parametrize(("n", "words"), [(1, "the first row of the file"), (5, "the first 5 rows of the file")])
def test_where_the_texts_begin_is_asked_for_if_the_first_rows_are_to_be_left_out(
    site: Site, encode: Command, n: int, words: str
) -> None:
    site.keep("a", own_rows().flatten(0, 1))
    ended = run(encode, site, "--exclude-first", n)
    assert ended.status == 0 and "does not say where its texts begin" in ended.err and words in ended.err
    assert encoding.meta(site.out / "a.npz")["excluded"]["first"] == n
    sinks(site)
    site.out = site.folder / "other"
    assert (
        "where its texts begin"
        not in encode(
            "run", site.acts / "a.npy", "--out", site.out, "--sae-path", site.params, "--exclude-first", n
        ).err
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch", [7, 4096])
def test_rows_that_do_not_count_may_hold_nan_and_are_stored_without_features(
    site: Site, encode: Command, value: float, batch: int
) -> None:
    """As padded rows do in half precision, where attention has nothing to look at."""
    mask = padded(site).bool()
    assert run(encode, site).status == 0
    sound = encoding.read(site.out / "batch.npz").toarray()
    contents = torch.load(site.acts / "batch.pt")
    contents["hidden_states"].flatten(0, 1)[~mask, 5] = value
    torch.save(contents, site.acts / "batch.pt")
    site.out = site.folder / "with nan"
    ended = run(encode, site, "--batch-tokens", batch)
    assert ended.status == 0 and "96 rows that do not count hold NaN or infinity: stored without features" in ended.err
    found, meta = encoding.read(site.out / "batch.npz").toarray(), encoding.meta(site.out / "batch.npz")
    assert (found[mask] == sound[mask]).all() and not found[~mask].any()
    assert meta["excluded"]["mask"] == 96 and any("NaN or infinity" in note for note in meta["notes"])
    assert meta["quality"]["explained_variance"] > 0.99 and meta["quality"]["n_sampled"] == 160
    contents["hidden_states"][0, 3, 0] = value  # this one counts
    torch.save(contents, site.acts / "batch.pt")
    refused = run(encode, site, "--batch-tokens", batch)
    assert refused.status == 1 and "row 3 holds NaN or infinity (1 of the rows 0 to" in refused.err
    assert "Only rows that do not count may" in refused.err


@pytest.mark.parametrize(
    ("flags", "value", "status"),
    [
        (["--exclude-first", 1], np.inf, 0),
        (["--exclude-norm", 10], np.inf, 0),
        (["--exclude-norm", 10], np.nan, 1),
        ([], np.inf, 1),
    ],
)
def test_a_sink_that_overflowed_half_precision_can_be_left_out(
    site: Site, encode: Command, flags: list[object], value: float, status: int
) -> None:
    x = own_rows()
    x[:, 0, 7] = value
    np.save(site.acts / "a.npy", x.numpy())
    ended = run(encode, site, *flags)
    assert ended.status == status, ended
    if status == 0:
        found = encoding.read(site.out / "a.npz")
        assert sum(encoding.meta(site.out / "a.npz")["excluded"].values()) == N_DOCUMENTS
        assert (np.diff(found.indptr)[::LENGTH] == 0).all() and np.diff(found.indptr).sum() == found.shape[0] - 8


def test_token_ids_are_excluded_from_python_and_the_arrays_are_kept(site: Site) -> None:
    mask = padded(site)
    found = encoder.encode_files(
        site.acts, site.out, site.params, exclude_tokens=np.array([130, 2, 0]), exclude_first=1, progress=False
    )
    with found as features:
        assert features.excluded() == {"mask": 96, "token": 2, "first": 7, "norm": 0}  # 130 is padding
        tokens = features.tokens(0)
        assert tokens.row_mask is not None and tokens.token_ids is not None and tokens.row_document is not None
        first = [0, 32, 64, 96, 140, 172, 204, 236]
        out = {*np.flatnonzero(mask == 0).tolist(), *first, 2}
        assert [row for row in range(256) if not tokens.row_mask[row]] == sorted(out)


def test_what_cannot_be_excluded_is_said_before_any_work(site: Site, encode: Command) -> None:
    site.shard("a")
    for flags in (["--exclude-tokens", "0;2"], ["--exclude-first", -1], ["--exclude-norm", 0]):
        refused = run(encode, site, *flags)
        assert refused.status == 2 and str(flags[0]) in refused.err and not site.out.exists(), refused
    with pytest.raises(InputError, match="--exclude-tokens"):
        encoder.encode_files(site.acts, site.out, site.params, exclude_tokens="x", progress=False)
    ended = run(encode, site, "--exclude-tokens", 1)
    assert ended.status == 1 and "no token ids" in ended.err


def test_a_run_with_other_rows_excluded_does_not_go_on_from_the_results_there(site: Site, encode: Command) -> None:
    sinks(site)
    assert run(encode, site, "--exclude-first", 1).status == 0
    assert "1 finished before" in run(encode, site, "--exclude-first", 1).out
    for flags in ([], ["--exclude-first", 2], ["--exclude-first", 1, "--exclude-norm", 9]):
        refused = run(encode, site, *flags)
        assert refused.status == 2 and "was made with --exclude-first 1, now it is" in refused.err, refused


def test_results_of_earlier_versions_excluded_nothing(site: Site, encode: Command) -> None:
    sinks(site)
    assert run(encode, site).status == 0
    path = site.out / "a.npz"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"exclude": {', b'"older__": {'))
    assert "1 finished before" in run(encode, site).out
    refused = run(encode, site, "--exclude-first", 1)
    assert refused.status == 2 and "was made with no row excluded, now it is --exclude-first 1" in refused.err


def test_a_submitted_job_carries_what_it_excludes(site: Site, encode: Command) -> None:
    sinks(site)
    submit = ["submit", site.acts, "--queue", site.root, "--sae-path", site.params]
    assert encode(*submit, "--exclude-norm", 10).status == 0
    for flags, now in ((["--exclude-first", 1], "--exclude-first 1"), ([], "no row excluded")):
        encode(*submit, *flags).refused(f"with --exclude-norm 10; now it is {now}")
    refused = encode("work", "--queue", site.root, "--exclude-first", 1)
    assert refused.status == 2 and "submitted with --exclude-norm 10, but this worker was started with" in refused.err
    assert encode("work", "--queue", site.root).status == 0
    assert encoding.meta(site.root / "out" / "a.npz")["excluded"]["norm"] == 8


def test_where_a_job_says_nothing_the_worker_says_what_is_excluded(site: Site, encode: Command) -> None:
    sinks(site)
    assert encode("submit", site.acts, "--queue", site.root, "--sae-path", site.params).status == 0
    again = encode("submit", site.acts, "--queue", site.root, "--sae-path", site.params, "--exclude-first", 2)
    again.refused("with no row excluded; now it is --exclude-first 2")
    assert encode("work", "--queue", site.root, "--exclude-first", 2).status == 0
    assert encoding.meta(site.root / "out" / "a.npz")["excluded"]["first"] == 16


def test_a_ticket_with_nonsense_in_it_fails_alone(site: Site) -> None:
    site.shard("a")
    site.shard("b")
    queue = Queue(site.root, create=True)
    good, bad = site.tickets()
    queue.submit([good, replace(bad, extra={**bad.extra, "exclude": {"first": "x"}})])
    heard = Heard()
    site.work(heard, queue)
    assert heard.said("b: failed", "--exclude-first x") and (site.out / "a.npz").exists()


def test_an_unwritten_end_is_told_and_does_not_count_towards_quality(site: Site, encode: Command) -> None:
    x = encoding.planted(300, encoding.dictionary())
    x[200:] = 0
    site.keep("a", x)
    ended = run(encode, site, "--strict")
    assert ended.status == 0 and "100 of 300 rows are all zeros, among them the last 100" in ended.err
    meta = encoding.meta(site.out / "a.npz")
    assert meta["quality"]["n_sampled"] == 200 and meta["quality"]["mean_l0"] == 1.0
    assert any("all zeros" in note for note in meta["notes"])


def test_what_scipy_cannot_do_with_float16_is_said_where_it_is_chosen(site: Site, encode: Command) -> None:
    site.shard("a", n=20)
    ended = run(encode, site, "--values", "float16")
    assert ended.status == 0 and "scipy cannot compute with float16; encoder.open_features gives float32" in ended.err
    assert "scipy cannot compute" in " ".join(encode("run", "--help").out.split())
    stored = encoding.read(site.out / "a.npz")
    with open_features(site.out) as features:
        given = features[:]
    assert stored.dtype == np.float16 and given.dtype == np.float32
    assert (given != stored.astype(np.float32)).nnz == 0 and given.sum() > 0 and (given.T @ given).shape == (64, 64)
