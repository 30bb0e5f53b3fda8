"""Several SAEs for one capture: the bytes of single runs, one reading of each shard, and what is missing is said."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import encoding
import pytest
import torch
from encoding import D_IN, Command, Heard, make_module, save
from hub import HubProcess
from queueing import AN_HOUR_S, names
from safetensors.torch import save_file
from zygote import Zygote

import encoder
from encoder.options import Options
from encoder.queue.queue import Queue
from encoder.work.named import names_of
from encoder.work.submit import inputs_of, tickets_of
from encoder.work.worker import Worker

N_LAYERS = 12


def hook(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


class Capture:
    """A folder with an SAE for each layer, and shards that hold the rows of all layers."""

    def __init__(self, folder: Path, n_layers: int = N_LAYERS) -> None:
        self.folder, self.acts, self.out = folder, folder / "acts", folder / "out"
        self.acts.mkdir()
        self.saes = [self.sae(layer) for layer in range(n_layers)]

    def sae(self, layer: int, name: str = "", **settings: Any) -> Path:
        module = make_module("jumprelu", seed=layer, **settings)
        module.cfg.metadata.hook_name, module.cfg.metadata.model_name = hook(layer), "gpt2-small"
        return save(module, self.folder / "saes" / (name or f"layer_{layer}"))

    def rows(self, seed: int, n: int = 70) -> torch.Tensor:
        """Return the residual stream: [layer, token, d]."""
        return torch.randn(N_LAYERS, n, D_IN, generator=torch.Generator().manual_seed(seed))

    def shard(self, name: str, layers: Iterable[int] = range(N_LAYERS), seed: int = 0, n: int = 70) -> Path:
        rows = self.rows(seed, n)
        path = self.acts / f"{name}.safetensors"
        save_file({hook(layer): rows[layer].contiguous() for layer in layers}, path)
        return path

    def folders(self, saes: Iterable[Path] | None = None) -> list[str]:
        return [one["folder"] for one in names_of(list(saes or self.saes))["saes"]]

    def flags(self) -> list[object]:
        return [word for sae in self.saes for word in ("--sae-path", sae)]

    def results(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.out)): path.read_bytes() for path in sorted(self.out.rglob("*.npz"))}

    def singly(self, saes: Iterable[Path] | None = None) -> dict[str, bytes]:
        """Return what single runs make, under the names that they have in a run of all."""
        found = {}
        for sae in saes or self.saes:
            (folder,) = self.folders([sae])
            alone = self.folder / "alone"
            encoder.encode_files(self.acts, alone, sae, progress=False)
            found |= {f"{folder}/{path.name}": path.read_bytes() for path in alone.glob("*.npz")}
            shutil.rmtree(alone)
        return dict(sorted(found.items()))

    def encode(self, saes: list[Any] | None = None, **settings: Any) -> Any:
        return encoder.encode_files(self.acts, self.out, saes or list(self.saes), progress=False, **settings)


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return Capture(tmp_path)


@pytest.fixture
def few(tmp_path: Path) -> Capture:
    return Capture(tmp_path, 3)


def bytes_read() -> int:
    """Return how many bytes this process has read from files so far, by whatever call."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def test_twelve_saes_make_the_bytes_of_twelve_single_runs(capture: Capture) -> None:
    capture.shard("a")
    capture.shard("b", seed=1, n=33)
    features = capture.encode(batch_tokens=16)
    assert list(features) == capture.folders()
    assert all(one.shape == (103, encoding.D_SAE) for one in features.values())
    results = capture.results()
    assert len(results) == 24 and results == capture.singly()
    assert names(capture.out) == ["local"], "nothing else is left"


@pytest.mark.parametrize(("saes_at_once", "n_groups"), [(6, 1), (3, 2), (1, 6)])
def test_each_shard_is_read_once_for_each_group_of_saes(tmp_path: Path, saes_at_once: int, n_groups: int) -> None:
    """Its rows once in all, and once for each group for its hash, which goes through all of the file."""
    capture = Capture(tmp_path, 6)
    saes = [encoding.load(sae) for sae in capture.saes]
    paths = [capture.shard(name, range(6), seed, n=4000) for seed, name in enumerate("ab")]
    size = sum(path.stat().st_size for path in paths)
    capture.encode(saes, saes_at_once=saes_at_once)  # what is read once in a process, such as code, has been read
    of_results = sum(len(result) for result in capture.results().values())
    shutil.rmtree(capture.out)
    before = bytes_read()
    capture.encode(saes, saes_at_once=saes_at_once)
    n_read = bytes_read() - before
    assert (1 + n_groups) * size <= n_read < (1 + n_groups) * size + 2 * of_results + size / 8


def test_saes_of_one_place_share_its_rows(few: Capture) -> None:
    few.shard("a", n=4000)
    wide = [few.sae(1, f"wide_{n}", d_sae=n) for n in (32, 96)]
    saes = [few.saes[1], *wide]
    before = bytes_read()
    features = few.encode([encoding.load(sae) for sae in saes])
    assert bytes_read() - before < 2 * (few.acts / "a.safetensors").stat().st_size
    assert [one.shape[1] for one in features.values()] == [encoding.D_SAE, 32, 96]
    assert few.results() == few.singly(saes)


@pytest.mark.parametrize("saes_at_once", [1, 2, 3])
def test_fewer_saes_at_a_time_make_the_same_bytes(few: Capture, saes_at_once: int) -> None:
    few.shard("a")
    few.shard("b", seed=1)
    few.encode(saes_at_once=saes_at_once)
    assert few.results() == few.singly()


def test_a_worker_uses_an_sae_for_all_shards_before_it_loads_the_next(few: Capture) -> None:
    for seed, name in enumerate("abc"):
        few.shard(name, seed=seed)
    heard = Heard()
    work(few, heard, saes_at_once=1)
    loads = [line.split(":")[0] for line in heard.lines if "jumprelu SAE" in line]
    assert sorted(set(loads)) == sorted(few.folders()) and len(loads) <= 5, "each once, and before to see what it is"


def work(capture: Capture, heard: Heard | None = None, *, stop_after: int = 0, **options: Any) -> Queue:
    """Submit all shards with all SAEs to a queue and work on it."""
    queue = Queue(capture.folder / "queue", create=True)
    tickets = tickets_of(inputs_of([capture.acts]), capture.out, names_of(list(capture.saes)), {})
    queue.submit(tickets)
    worker = Worker(queue, Options(**options), heard or Heard())
    worker.run()
    return queue


def test_a_ticket_has_the_keys_of_all_tickets_and_says_what_became_of_each_sae(few: Capture) -> None:
    few.shard("a")
    queue = work(few)
    ticket = json.loads((queue.root / "done" / "a.json").read_bytes())
    nine = ["job", "shard", "out", "sae", "select", "attempts", "worker", "submitted_at", "error"]
    assert list(ticket)[:9] == nine and ticket["attempts"] == 1 and ticket["out"] == str(few.out / "a.npz")
    assert [one["folder"] for one in ticket["sae"]["saes"]] == few.folders()
    assert [one["sae_path"] for one in ticket["sae"]["saes"]] == [str(path) for path in few.saes]
    assert {said["rows"] for said in ticket["result"]["saes"].values()} == {70}
    assert len(queue.states()) == 1, "one ticket a shard"


def test_a_second_run_does_nothing_and_a_missing_result_alone_is_made_again(few: Capture) -> None:
    few.shard("a")
    few.shard("b", seed=1)
    few.encode()
    results = few.results()
    before = {path: path.stat().st_ino for path in few.out.rglob("*.npz")}
    few.encode()
    assert {path: path.stat().st_ino for path in few.out.rglob("*.npz")} == before
    gone = few.out / few.folders()[1] / "b.npz"
    gone.unlink()
    few.encode()
    after = {path: path.stat().st_ino for path in few.out.rglob("*.npz")}
    assert few.results() == results and [path for path in after if after[path] != before[path]] == [gone]


def test_another_sae_is_added_to_what_is_there(few: Capture) -> None:
    few.shard("a")
    few.encode(few.saes[:1])
    kept = next(few.out.rglob("*.npz")).stat().st_ino
    few.encode()
    assert few.results() == few.singly() and next(few.out.glob(f"{few.folders()[0]}/*.npz")).stat().st_ino == kept


# What is missing, and what goes wrong


def test_what_is_in_the_data_without_sae_and_the_reverse_is_said(few: Capture, encode: Command) -> None:
    few.shard("a", layers=(1, 2, 7))
    few.shard("b", layers=(2, 7), seed=1)
    ended = encode("run", few.acts, "--out", few.out, *few.flags(), "--json")
    assert ended.status == 0, ended
    folders = few.folders()
    told = {one["folder"]: (one["results"], one["absent"]) for one in ended.document["saes"]}
    assert told == dict(zip(folders, [(0, 2), (1, 1), (2, 0)], strict=True))
    assert ended.document["without_sae"] == [hook(7)] and ended.document["done"] == 2
    assert f"a.safetensors: has no activations for {folders[0]}" in ended.err
    assert f"has activations that no SAE is for: {hook(7)}" in ended.err
    made = sorted([f"{folders[1]}/a.npz", f"{folders[2]}/a.npz", f"{folders[2]}/b.npz"])
    assert sorted(few.results()) == made
    again = encode("run", few.acts, "--out", few.out, *few.flags(), "--json")
    assert again.status == 0 and (again.document["done"], again.document["skipped"]) == (0, 2)
    assert again.document["saes"] == ended.document["saes"] and again.document["without_sae"] == [hook(7)]
    assert sorted(few.results()) == made


@pytest.mark.parametrize("saes_at_once", [1, 2])
def test_what_has_no_sae_is_told_of_all_saes_however_few_are_loaded(few: Capture, saes_at_once: int) -> None:
    few.shard("a", layers=(1, 2, 7))
    queue = work(few, saes_at_once=saes_at_once)
    ticket = queue.ticket("done", "a")
    assert ticket is not None and ticket.result["without_sae"] == [hook(7)]
    few.encode(few.saes[:2])
    assert len(few.results()) == 2


def test_a_shard_that_no_sae_is_for_is_no_error_but_nothing_at_all_is(few: Capture, encode: Command) -> None:
    few.shard("a", layers=(7,))
    run = ("run", few.acts, "--out", few.out, *few.flags(), "--json")
    ended = encode(*run)
    assert ended.status == 1 and "no shard has activations for any of the SAEs" in str(ended.document["errors"])
    few.shard("b", layers=(1,))
    ended = encode(*run)
    assert ended.status == 0 and (ended.document["done"], ended.document["unmatched"]) == (1, 1)


def test_what_is_wrong_with_one_layer_stops_no_other(few: Capture, encode: Command) -> None:
    rows = few.rows(0)
    rows[1, 17, 3] = float("nan")
    save_file({hook(layer): rows[layer].contiguous() for layer in range(3)}, few.acts / "a.safetensors")
    run = ("run", few.acts, "--out", few.out, *few.flags(), "--json")
    folders = few.folders()
    for _ in range(2):
        ended = encode(*run)
        assert ended.status == 1, ended
        assert (
            f"{folders[1]}: " in ended.document["errors"]["a"] and "row 17 holds NaN" in ended.document["errors"]["a"]
        )
        assert sorted(few.results()) == sorted([f"{folders[0]}/a.npz", f"{folders[2]}/a.npz"])
    few.shard("a")
    assert encode(*run).status == 0 and few.results() == few.singly()


def test_an_sae_that_is_damaged_is_told_before_any_work(few: Capture, encode: Command) -> None:
    few.shard("a")
    (few.saes[1] / "sae_weights.safetensors").write_bytes(b"no weights")
    encode("run", few.acts, "--out", few.out, *few.flags()).refused("layer_1")
    assert not few.out.exists()


def test_rows_of_an_unknown_place_are_given_to_no_sae_of_several_layers(few: Capture, encode: Command) -> None:
    save_file({"x": few.rows(0)[1].contiguous()}, few.acts / "a.safetensors")
    ended = encode("run", few.acts, "--out", few.out, *few.flags(), "--json")
    assert ended.status == 1 and few.results() == {}
    assert "does not say where in the model its rows are from" in ended.document["errors"]["a"]
    assert hook(0) in ended.document["errors"]["a"] and hook(2) in ended.document["errors"]["a"]
    assert encode("run", few.acts, "--out", few.out, "--sae-path", few.saes[1]).status == 0


def test_rows_of_an_unknown_place_are_refused_also_where_one_sae_has_them_already(few: Capture) -> None:
    save_file({"x": few.rows(0)[1].contiguous()}, few.acts / "a.safetensors")
    few.encode(few.saes[:1])
    with pytest.raises(encoder.EncodeError, match="does not say where in the model its rows are from"):
        few.encode(few.saes[:2])
    assert list(few.results()) == [f"{few.folders()[0]}/a.npz"]


def test_a_layer_that_is_chosen_by_hand_is_given_to_its_own_sae_only(few: Capture, encode: Command) -> None:
    few.shard("a")
    ended = encode("run", few.acts, "--out", few.out, *few.flags(), "--select", hook(1), "--json")
    assert ended.status == 0 and list(few.results()) == [f"{few.folders()[1]}/a.npz"]


def test_results_of_one_sae_and_of_several_do_not_lie_in_one_folder(few: Capture, encode: Command) -> None:
    few.shard("a")
    assert encode("run", few.acts, "--out", few.out, "--sae-path", few.saes[0]).status == 0
    encode("run", few.acts, "--out", few.out, *few.flags()).refused("a.npz is the result of one SAE", "another one")


def test_one_name_for_two_saes_is_refused_and_two_files_of_one_name_are_not(few: Capture, encode: Command) -> None:
    few.shard("a")
    twice = ("--sae-path", few.saes[0], "--sae-path", few.saes[0])
    encode("run", few.acts, "--out", few.out, *twice).refused("layer_0 is named twice")
    with pytest.raises(encoder.InputError, match="empty list"):
        encoder.encode_files(few.acts, few.out, [])
    weights = encoding.dictionary()
    paths = [few.folder / name / "params.npz" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        encoding.save_params(path, weights)
    both = few.folders(paths)
    assert len(set(both)) == 2 and all("params" in folder for folder in both)


def test_submit_and_work_do_what_run_does(few: Capture, encode: Command) -> None:
    few.shard("a")
    few.shard("b", layers=(0, 1), seed=1)
    queue = few.folder / "queue"
    assert encode("submit", few.acts, "--queue", queue, "--out", few.out, *few.flags()).status == 0
    ended = encode("work", "--queue", queue, "--saes-at-once", 2, "--json")
    assert ended.status == 0 and ended.document["done"] == 2
    assert [(one["results"], one["absent"]) for one in ended.document["saes"]] == [(2, 0), (2, 0), (1, 1)]
    submitted = few.results()
    shutil.rmtree(few.out)
    assert encode("run", few.acts, "--out", few.out, *few.flags()).status == 0
    assert few.results() == submitted


def test_a_stopped_worker_loses_no_more_than_the_reading_in_hand(few: Capture) -> None:
    few.shard("a")
    few.shard("b", seed=1)
    batches: list[int] = []
    queue = Queue(few.folder / "queue", create=True)
    queue.submit(tickets_of(inputs_of([few.acts]), few.out, names_of(list(few.saes)), {}))
    heard = Heard(lambda: batches.append(1) or (worker.stop() if len(batches) == 7 else None))  # type: ignore[func-returns-value]
    worker = Worker(queue, Options(batch_tokens=35, saes_at_once=1), heard)
    worker.run()
    assert worker.stopped and names(queue.root / "claimed") == []
    first = few.results()
    assert len(first) == 3, "of six readings of two batches"
    ticket = queue.ticket("ready", "b")
    assert ticket is not None and ticket.attempts == 0
    Worker(queue, Options(), Heard()).run()
    assert few.results() == few.singly() and first.items() <= few.results().items()


def test_a_late_worker_publishes_none_of_its_results_over_its_successors(few: Capture) -> None:
    few.shard("a")
    queue = Queue(few.folder / "queue", create=True)
    queue.submit(tickets_of(inputs_of([few.acts]), few.out, names_of(list(few.saes)), {}))
    inodes: list[dict[str, int]] = []

    def steal() -> None:
        if not inodes:
            hours_later = Queue(queue.root, now=lambda: time.time() + AN_HOUR_S)
            assert hours_later.reclaim_expired() == ["a"]
            Worker(Queue(queue.root), Options(), Heard()).run()
            inodes.append({str(path): path.stat().st_ino for path in few.out.rglob("*")})

    late = Heard(steal)
    Worker(queue, Options(batch_tokens=35), late).run()
    assert late.said("a: ", "is over", "dropped")
    assert {str(path): path.stat().st_ino for path in few.out.rglob("*")} == inodes[0] and len(few.results()) == 3


def test_a_result_whose_name_another_shard_has_stops_no_other_sae(few: Capture, encode: Command) -> None:
    path = few.shard("a")
    encoder.encode_files(few.acts, few.out, [few.saes[1]], progress=False)
    elsewhere = few.folder / "elsewhere" / "a.safetensors"
    elsewhere.parent.mkdir()
    rows = few.rows(5)
    save_file({hook(layer): rows[layer].contiguous() for layer in range(3)}, elsewhere)
    ended = encode("run", elsewhere, "--out", few.out, *few.flags(), "--json")
    assert (
        ended.status == 1 and str(path) in ended.document["errors"]["a"] and "--prefix" in ended.document["errors"]["a"]
    )
    found = {name: encoding.meta(few.out / name)["shard_path"] for name in few.results()}
    assert list(found.values()).count(str(elsewhere)) == 2 and list(found.values()).count(str(path)) == 1


# By a pattern, and in several processes


def test_a_pattern_means_saes_of_the_registry_and_only_those_of_the_data_are_downloaded(
    hub: HubProcess, zygote: Zygote, tmp_path: Path
) -> None:
    """The hub has layer 3. The pattern means layer 4 too, which the capture does not have."""
    encoding.gemma_scope(hub.root / "layer_3/width_16k/average_l0_59")
    x = torch.zeros(20, 2304)
    x[:, :16] = encoding.planted(20, encoding.dictionary(16, 16384))
    (tmp_path / "acts").mkdir()
    save_file({hook(layer): x + layer / 100 for layer in (3, 9)}, tmp_path / "acts" / "a.safetensors")
    release, ids = "gemma-scope-2b-pt-res-canonical", "layer_[34]/width_16k/canonical"
    named = ("--sae-release", release, "--sae-id", ids)
    status, ran = zygote.run("run", tmp_path / "acts", "--out", tmp_path / "out", *named, "--quiet", "--json")
    assert status == 0, ran.err
    told = json.loads(ran.out)
    assert [(one["sae_id"], one["results"], one["absent"]) for one in told["saes"]] == [
        ("layer_3/width_16k/canonical", 1, 0),
        ("layer_4/width_16k/canonical", 0, 1),
    ]
    assert "nothing of blocks.4" in told["saes"][1]["why_absent"] and told["without_sae"] == [hook(9)]
    assert names(tmp_path / "out" / release) == ["layer_3_width_16k_canonical"]
    meta = encoding.meta(tmp_path / "out" / release / "layer_3_width_16k_canonical" / "a.npz")
    assert (meta["sae_release"], meta["sae_id"]) == (release, "layer_3/width_16k/canonical")
    with encoder.open_features(tmp_path / "out", (release, "layer_3/width_16k/canonical")) as features:
        assert features.shape == (20, 16384) and features.nnz > 0


def test_a_pattern_that_fits_nothing_is_refused_with_what_there_is(few: Capture, encode: Command) -> None:
    run = ("run", few.acts, "--out", few.out)
    few.shard("a")
    named = ("--sae-release", "gemma-scope-2b-pt-res-canonical")
    encode(*run, *named, "--sae-id", "layer_99/*").refused("layer_99/*", "no SAE of the release", "it has ")
    encode(*run, "--sae-release", "nothing", "--sae-id", "layer_*").refused(
        "--sae-release nothing", "saefetch list --all"
    )
    encode(*run, *named, "--sae-id", "layer_2[01]/width_16k/canonical").refused("no shard has activations", "blocks.20")
    assert not few.out.exists()


def test_two_workers_share_the_shards_and_make_the_same_bytes(few: Capture, zygote: Zygote) -> None:
    for seed, name in enumerate("abcd"):
        few.shard(name, seed=seed)
    run = ("run", few.acts, "--out", few.out, *few.flags(), "--workers", 2, "--saes-at-once", 2, "--quiet", "--json")
    status, ran = zygote.run(*run)
    assert status == 0, ran.err
    assert json.loads(ran.out)["done"] == 4 and few.results() == few.singly()
    status, ran = zygote.run(*run)
    assert status == 0 and json.loads(ran.out)["skipped"] == 4


def test_a_run_with_other_saes_goes_on_where_an_interrupted_one_stopped(few: Capture) -> None:
    few.shard("a")
    queue = Queue(few.out / ".queue", create=True)
    hashes = (str(encoding.load(sae).identity["weights_sha256"]) for sae in few.saes)
    weights = dict(zip(few.folders(), hashes, strict=True))
    saes = names_of(list(few.saes[:2]))
    queue.submit(tickets_of(inputs_of([few.acts]), few.out, saes, {}, weights_sha256=weights))
    few.encode(few.saes[1:])
    assert sorted(few.results()) == [f"{folder}/a.npz" for folder in sorted(few.folders())]
    assert not queue.root.exists()
