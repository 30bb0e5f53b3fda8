"""The `sae-encode` command in this process: commands, flags, exit statuses, one line for every kind of bad input.

Signals and processes are in test_encode_crash.py; the default SAE from Hugging Face is in test_load.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Site
from queueing import names
from zygote import Zygote, wait_for

from encoder.options import Options, load_options

ROOT = Path(__file__).resolve().parents[2]


# run


def test_run_encodes_a_folder_says_how_it_went_and_leaves_no_queue(site: Site, encode: Command) -> None:
    site.shard("a")
    (site.acts / "deep").mkdir()
    shutil.copy(site.shard("b"), site.acts / "deep" / "b.safetensors")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params)
    assert ended.status == 0, ended
    assert names(site.out) == ["a.npz", "b.npz", "deep__b.npz"]
    assert "3 shards encoded, 90 tokens, L0 1.0" in ended.out and str(site.out) in ended.out
    assert all(f"{stage} " in ended.out for stage in ("read", "copy", "kernel", "write"))
    assert ended.err.count("explains 100.0% of the variance") == 3


def test_json_is_one_object_on_stdout_and_a_second_run_does_nothing(site: Site, encode: Command) -> None:
    site.shard("a")
    site.shard("b")
    flags = ("--out", site.out, "--sae-path", site.params, "--json")
    first, second = encode("run", site.acts, *flags), encode("run", site.acts, *flags)
    assert (first.status, second.status) == (0, 0)
    told = first.document
    assert told["done"] == told["shards"] == 2 and told["rows"] == 60 and told["nnz"] == 60 and told["errors"] == {}
    assert set(told["seconds"]) == {"read", "copy", "kernel", "write"} and told["out"] == str(site.out)
    assert (second.document["done"], second.document["skipped"], second.document["rows"]) == (0, 2, 0)
    said = encode("run", site.acts, *flags[:-1])
    assert "2 finished before" in said.out and "nothing to do" in said.out


def test_quiet_says_nothing(site: Site, encode: Command) -> None:
    site.shard("a")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet")
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_every_flag_of_run_is_heard(site: Site, encode: Command) -> None:
    site.keep("x", encoding.planted(9, site.weights))
    flags = ("--device", "cpu", "--batch-tokens", 2, "--values", "float16", "--select", "x", "--backend", "reference")
    flags = (*flags, "--axes", "token,d")
    ended = encode("run", site.acts / "x.safetensors", "--out", site.out, "--sae-path", site.params, *flags)
    assert ended.status == 0 and "kernel reference on cpu" in ended.err
    meta = encoding.meta(site.out / "x.npz")
    assert (meta["values"], meta["select"]) == ("float16", {"key": "x", "axes": "token,d"})


def test_a_failed_shard_is_exit_1_and_a_mended_one_is_done_by_the_next_run(site: Site, encode: Command) -> None:
    site.shard("a")
    rows = encoding.planted(4, site.weights)
    rows[1, 1] = float("nan")
    site.keep("b", rows)
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params, "--json")
    ended = encode(*run)
    assert ended.status == 1 and ended.document["failed"] == 1
    assert "row 1 holds NaN" in ended.document["errors"]["b"] and names(site.out) == [".queue", "_failed", "a.npz"]
    again = encode(*run[:-1])
    assert again.status == 1 and again.err.splitlines()[-1].startswith("Once mended: ")
    assert again.err.splitlines()[-1].endswith(f"run {site.acts} --out {site.out} --sae-path {site.params}")
    assert "sae-encode: b: " in again.err and "Traceback" not in again.err
    assert again.err.count("row 1 holds NaN") == 1, "told once"
    site.shard("b")
    ended = encode(*run)
    assert (ended.status, ended.document["done"], ended.document["skipped"]) == (0, 1, 1)
    assert names(site.out) == ["a.npz", "b.npz"]


def test_a_failed_run_may_be_repeated_with_the_right_sae(site: Site, encode: Command) -> None:
    site.shard("a")
    wrong = encoding.save_params(site.folder / "wrong.npz", encoding.dictionary(d_in=7))
    assert encode("run", site.acts, "--out", site.out, "--sae-path", wrong).status == 1
    assert encode("run", site.acts, "--out", site.out, "--sae-path", site.params).status == 0


def test_a_warning_is_exit_0_and_with_strict_exit_1(site: Site, encode: Command) -> None:
    site.keep("a", encoding.planted(300, site.weights).flip(1))
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params)
    ended = encode(*run, "--json")
    assert ended.status == 0 and "does not look like the right SAE" in ended.document["warnings"][0]
    ended = encode(*run, "--strict", "--json")
    assert ended.status == 1 and "does not look like the right SAE" in ended.document["errors"]["a"]


# What is refused


def test_resuming_with_another_sae_or_other_values_is_refused_with_what_differs(site: Site, encode: Command) -> None:
    site.shard("a")
    run = ("run", site.acts, "--out", site.out)
    assert encode(*run, "--sae-path", site.params).status == 0
    before = site.results()
    other = encoding.save_params(site.folder / "other.npz", encoding.dictionary(seed=3))
    encode(*run, "--sae-path", other).refused("a.npz was made with weights_sha256", "choose another --out")
    encode(*run, "--sae-path", site.params, "--values", "float16").refused("values 'float32', now it is 'float16'")
    encode(*run, "--sae-path", site.params, "--select", "x").refused("select {}, now it is {'key': 'x'}")
    assert site.results() == before


def test_a_left_over_queue_of_another_sae_is_refused(site: Site, encode: Command) -> None:
    site.shard("a")
    site.root = site.out / ".queue"
    site.submit()
    other = encoding.save_params(site.folder / "other.npz", encoding.dictionary(seed=3))
    named = ("--out", site.out, "--sae-path", other)
    encode("run", site.acts, *named).refused("has a job a already", "other.npz")
    elsewhere = site.shard("b").rename(site.folder / "b.safetensors")
    encode("run", elsewhere, *named).refused("has a job a", "the results of which go to", "other.npz")
    assert names(site.root / "ready") == ["a.json"]


def test_two_inputs_of_one_name_are_refused_before_any_work(site: Site, encode: Command) -> None:
    site.shard("a")
    np.save(site.acts / "a.npy", np.zeros((1, encoding.D_IN), np.float32))
    run = encode("run", site.acts, "--out", site.out, "--sae-path", site.params)
    run.refused("a.npy", "a.safetensors", "would both become a.npz")
    assert not site.out.exists()


def test_bad_input_of_every_kind_is_one_line_and_exit_2(site: Site, encode: Command) -> None:
    site.shard("a")
    (site.folder / "empty").mkdir()
    (site.folder / "file").write_text("x")
    sae, out = ("--sae-path", site.params), ("--out", site.out)
    run = ("run", site.acts, *out)
    encode("run", site.folder / "no", *out, *sae).refused("no: there is no such file")
    encode("run", site.folder / "empty", *out, *sae).refused("empty: no activation files")
    encode("run", site.acts, "--out", site.folder / "file", *sae).refused("--out", "file")
    encode("run", site.acts, "--out", site.folder / "file" / "x", *sae).refused("--out", "cannot be written")
    encode("run", site.acts, "--out", "/proc/nowhere", *sae).refused("--out /proc/nowhere")
    encode(*run, "--sae-path", site.folder / "none").refused("--sae-path", "no such file")
    encode(*run, "--sae-path", site.folder / "file").refused("no SAE in a layout that is known")
    encode(*run, *sae, "--sae-id", "x").refused("--sae-path is the whole name")
    encode(*run, "--sae-release", "some").refused("--sae-release some", "--sae-id")
    encode(*run, "--sae-release", "some", "--sae-id", "x").refused("SAELens knows no such release")
    for flag, value in {
        "--device": "tpu", "--values": "int8", "--backend": "abacus", "--batch-tokens": "0", "--workers": "0",
        "--select": "layr=3", "--config": "none.toml",
    }.items():  # fmt: skip
        encode(*run, *sae, flag, value).refused(flag, value)
    encode(*run, *sae, "--device", "cuda:99").refused("--device cuda:99", "use --device cpu")
    assert not site.out.exists()


def test_a_screen_that_does_not_exist_is_one_line_and_exit_2(
    site: Site, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.shard("a")
    monkeypatch.setenv("SAEFETCH_SCREEN", "fp8")
    run = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet")
    run.refused("'fp8', set by SAEFETCH_SCREEN: expected one of int8, bf16, fp32")
    monkeypatch.setenv("SAEFETCH_SCREEN", "fp32")
    assert encode("run", site.acts, "--out", site.out, "--sae-path", site.params).status == 0


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "x"), ("work",), ("submit", "x"), ("dance",), ("work", "--queue"), ("run", "--out")]
)
def test_what_typer_refuses_is_exit_2(arguments: tuple[str, ...], encode: Command) -> None:
    ended = encode(*arguments)
    assert (ended.status, ended.out) == (2, "") and "Traceback" not in ended.err and ended.err
    assert encode("run", "x", "--out", "y", "--batch-tokens", "many").status == 2


# Options


def test_the_config_file_gives_defaults_and_flags_win(site: Site, encode: Command) -> None:
    site.shard("a")
    config = site.folder / "my.toml"
    config.write_text('values = "float16"\nbackend = "reference"\n')
    run = ("run", site.acts, "--sae-path", site.params, "--config", config)
    encode(*run, "--out", site.out)
    encode(*run, "--out", site.folder / "flags", "--values", "float32")
    assert encoding.meta(site.out / "a.npz")["values"] == "float16"
    assert encoding.meta(site.folder / "flags" / "a.npz")["values"] == "float32"


def test_the_config_file_of_the_folder_is_read_without_being_named(site: Site, encode: Command) -> None:
    (site.folder / "config").mkdir()
    (site.folder / "config" / "encoder.toml").write_text("batch_tokenz = 5")
    encode("run", site.acts, "--out", site.out).refused("unknown key 'batch_tokenz'", "'batch_tokens'")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("lease = 3", "'lease_s'"),
        ("batch_tokens = true", "bad.toml: batch_tokens 'True': should not be true or false"),
        ("batch_tokens = 2.5", "batch_tokens '2.5'"),
        ("lease_s = nan", "lease_s 'nan'"),
        ("lease_s = 0", "lease_s '0'"),
        ('strict = "yes"', "strict 'yes': should be true or false"),
        ("device = 7", "device '7'"),
        ("values = []", "values '[]'"),
        ("a = = b", "bad.toml: not valid TOML"),
    ],
)
def test_a_bad_config_file_is_refused_with_the_key(line: str, word: str, site: Site, encode: Command) -> None:
    (site.folder / "bad.toml").write_text(line)
    encode("run", site.acts, "--out", site.out, "--config", site.folder / "bad.toml").refused(word)


def test_the_toml_file_of_the_repository_holds_the_built_in_values() -> None:
    path = ROOT / "config" / "encoder.toml"
    assert load_options(path) == Options()
    written = [name for name, field in Options.model_fields.items() if field.default is not None]  # TOML has no null
    assert list(tomllib.loads(path.read_text())) == written


@pytest.mark.parametrize(
    ("name", "in_toml", "in_env", "flag"),
    [
        ("sae_id", '"t"', "e", "f"),
        ("device", '"mps"', "cpu", "cuda"),
        ("backend", '"cpu"', "triton", "reference"),
        ("batch_tokens", "2", "3", 4),
        ("values", '"float16"', "float32", "float16"),
        ("lease_s", "2.5", "3", 4.0),
        ("strict", "true", "0", True),
    ],
)
def test_a_flag_wins_over_the_environment_over_toml(
    name: str, in_toml: str, in_env: str, flag: object, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"SAE_ENCODE_{name.upper()}", raising=False)
    config = site.folder / "my.toml"
    config.write_text(f"{name} = {in_toml}")
    from_toml = getattr(load_options(config), name)
    assert from_toml == tomllib.loads(config.read_text())[name]
    monkeypatch.setenv(f"SAE_ENCODE_{name.upper()}", in_env)
    from_env = getattr(load_options(config), name)
    assert from_env != from_toml and str(from_env) in (in_env, f"{in_env}.0", str(in_env != "0"))
    assert getattr(load_options(config, **{name: flag}), name) == flag
    assert getattr(Options(), name) == Options.model_fields[name].default, "made directly, it looks at no variable"


def test_a_bad_variable_is_refused_with_its_name(site: Site, encode: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    site.shard("a")
    monkeypatch.setenv("SAE_ENCODE_WORKERS", "many")
    encode("run", site.acts, "--out", site.out).refused("SAE_ENCODE_WORKERS 'many': should be a valid integer")


def test_an_sae_that_is_not_named_is_the_configured_one(site: Site, encode: Command) -> None:
    site.shard("a")
    assert encode("submit", site.acts, "--queue", site.root).status == 0
    ticket = site.queue().ticket("ready", "a")
    assert ticket is not None
    expected = {"sae_release": Options().sae_release, "sae_id": Options().sae_id, "sae_path": None}
    assert ticket.sae == expected and expected["sae_id"] == "layer_16/width_16k/canonical"
    encode("submit", site.acts, "--queue", site.folder / "q", "--sae-id", "layer_3/width_16k/canonical")
    assert json.loads((site.folder / "q" / "ready" / "a.json").read_text())["sae"]["sae_id"].startswith("layer_3")


# submit, work, status, retry


def test_a_queue_from_submit_to_done(site: Site, encode: Command) -> None:
    site.shard("a")
    bad = site.keep("b", encoding.planted(3, site.weights) * float("inf"))
    named = ("--queue", site.root)
    ended = encode("submit", site.acts, *named, "--sae-path", site.params)
    assert (
        ended.status == 0 and "2 shards submitted" in ended.out and f"sae-encode work --queue {site.root}" in ended.out
    )
    assert "0 shards submitted" in encode("submit", site.acts, *named, "--sae-path", site.params).out
    assert "ready 2, claimed 0, done 0, failed 0" in encode("status", *named).out
    ended = encode("work", *named, "--json")
    assert ended.status == 1 and (ended.document["done"], ended.document["failed"]) == (1, 1)
    assert names(site.root / "out") == ["a.npz"]
    shown = encode("status", *named)
    assert "done 1, failed 1" in shown.out and "b: " in shown.out and "NaN or infinity" in shown.out
    told = encode("status", *named, "--json").document
    assert told["done"] == ["a"] and list(told["failed"]) == ["b"] and told["ready"] == told["claimed"] == []
    encode("retry", *named, "nobody").refused("nobody: no failed job of that name")
    encode("retry", *named, "b", "a").refused("a: no failed job")
    assert "1 jobs are ready again" in encode("retry", *named, "b").out
    assert encode("work", *named).status == 1
    bad.unlink()
    site.shard("b")
    assert "1 jobs are ready again" in encode("retry", *named).out
    ended = encode("work", *named)
    assert ended.status == 0 and "1 shards encoded" in ended.out
    assert encode("work", *named, "--json").document["done"] == 0
    assert "0 jobs are ready again" in encode("retry", *named).out


def test_what_would_mix_two_saes_in_one_folder_is_refused_by_submit(site: Site, encode: Command) -> None:
    site.shard("a")
    submit = ("submit", site.acts, "--queue", site.root)
    assert encode(*submit, "--sae-path", site.params).status == 0
    other = encoding.save_params(site.folder / "other.npz", encoding.dictionary(seed=3))
    encode(*submit, "--sae-path", other).refused("has a job a already, with sae", "other.npz")
    (site.folder / "more").mkdir()
    shutil.copy(site.shard("b"), site.folder / "more")
    more = ("submit", site.folder / "more", "--queue", site.root, "--sae-path", other)
    encode(*more).refused("has a job a", "the results of which go to", "other.npz")
    assert encode(*more, "--out", site.out).status == 0


def test_a_worker_with_other_values_is_refused_and_the_job_stays(site: Site, encode: Command) -> None:
    site.shard("a")
    named = ("--queue", site.root)
    encode("submit", site.acts, *named, "--sae-path", site.params)
    encode("work", *named)
    site.shard("b")
    encode("submit", site.acts, *named, "--sae-path", site.params)
    ended = encode("work", *named, "--values", "float16", "--quiet")
    ended.refused("values 'float32', now it is 'float16'")
    assert names(site.root / "ready") == ["b.json"]
    encode("work", *named, "--device", "cuda:99", "--quiet").refused("--device cuda:99")


def test_what_is_no_queue_is_refused(site: Site, encode: Command) -> None:
    for command in (("work",), ("status",), ("retry",)):
        encode(*command, "--queue", site.acts).refused("is no queue", "submit shards to it first")
        encode(*command, "--queue", site.folder / "none").refused("is no queue")
    (site.folder / "file").write_text("x")
    site.shard("a")
    encode("submit", site.acts, "--queue", site.folder / "file").refused("file", status=1)


def test_garbage_in_ready_is_shown_and_stops_nothing(site: Site, encode: Command) -> None:
    site.shard("a")
    named = ("--queue", site.root)
    encode("submit", site.acts, *named, "--sae-path", site.params)
    (site.root / "ready" / "x.json").write_bytes(b"\xff garbage")
    ended = encode("work", *named)
    assert ended.status == 1 and "1 shards encoded" in ended.out and "sae-encode: x: ticket of 'x'" in ended.err
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params)
    (site.out / ".queue" / "ready").mkdir(parents=True)
    (site.out / ".queue" / "ready" / "x.json").write_bytes(b"[]")
    ended = encode(*run)
    assert ended.status == 1 and "1 shards encoded" in ended.out and "sae-encode: x: ticket of 'x'" in ended.err


# --watch


def test_watch_takes_what_came_to_rest_and_ends_at_a_signal(site: Site, zygote: Zygote) -> None:
    config = site.folder / "encoder.toml"
    config.write_text('stable_s = 0.3\nbackend = "reference"\n')
    watching = zygote.start("work", "--queue", site.root, "--watch", "--sae-path", site.params, "--config", config)
    inbox, out = site.root / "inbox", site.root / "out"
    wait_for(inbox.is_dir)
    whole = site.shard("a", 50).read_bytes()
    with (inbox / "a.safetensors").open("wb") as growing:
        for start in range(0, len(whole), len(whole) // 8):
            growing.write(whole[start : start + len(whole) // 8])
            growing.flush()
            assert not out.exists() and not names(site.root / "failed")
            threading.Event().wait(0.1)
    wait_for((out / "a.npz").exists)
    (inbox / "below").mkdir()
    shutil.copy(site.shard("other", 20, 2), inbox / "below" / "a.safetensors")
    wait_for((out / "below__a.npz").exists)
    assert encoding.read(out / "a.npz").shape[0] == 50 and encoding.read(out / "below__a.npz").shape[0] == 20
    before = (out / "a.npz").read_bytes()
    np.save(inbox / "a.npy", encoding.planted(5, site.weights).numpy())
    wait_for(lambda: "inbox: " in watching.err)
    assert "a.npz is the result of" in watching.err and "a.npy would take its name" in watching.err
    assert (out / "a.npz").read_bytes() == before
    watching.kill(signal.SIGTERM)
    assert watching.wait() == 143 and "To resume: sae-encode work" in watching.err
    assert {path.name for path in inbox.iterdir()} == {"a.safetensors", "a.npy", "below"}


# stats


def test_stats_tell_what_a_folder_holds(site: Site, encode: Command) -> None:
    site.shard("a", 30, 1)
    site.shard("b", 10, 2)
    encode("run", site.acts, "--out", site.out, "--sae-path", site.params)
    told = encode("stats", site.out, "--json").document
    matrices = [encoding.read(site.out / f"{name}.npz") for name in "ab"]
    fired = sum((matrix != 0).sum(axis=0) for matrix in matrices)
    nnz = sum(matrix.nnz for matrix in matrices)
    assert (told["rows"], told["d_sae"], told["nnz"]) == (40, encoding.D_SAE, nnz)
    assert told["mean_l0"] == round(nnz / 40, 4) and told["density"] == nnz / (40 * encoding.D_SAE)
    assert told["dead_features"] == int((fired == 0).sum()) > 0
    assert told["sae_path"] == str(site.params) and told["weights_sha256"] and told["values"] == "float32"
    assert [shard["shard"] for shard in told["shards"]] == ["a.npz", "b.npz"]
    assert [shard["rows"] for shard in told["shards"]] == [30, 10]
    assert all(shard["explained_variance"] > 0.99 for shard in told["shards"])
    shown = encode("stats", site.out).out
    assert "40 rows, L0 1.0" in shown and "features never fired" in shown and "a.npz: 30 rows" in shown


def test_stats_of_nothing_are_refused(site: Site, encode: Command) -> None:
    encode("stats", site.acts).refused("has no features files", status=1)
    encode("stats", site.folder / "none").refused("none", status=1)
    (site.acts / "x.npz").write_bytes(b"garbage")
    encode("stats", site.acts).refused("x.npz", status=1)


def test_stats_of_empty_shards_divide_by_nothing(site: Site, encode: Command) -> None:
    site.shard("a", 0)
    encode("run", site.acts, "--out", site.out, "--sae-path", site.params)
    told = encode("stats", site.out, "--json").document
    assert (told["rows"], told["nnz"], told["mean_l0"], told["dead_features"]) == (0, 0, 0.0, encoding.D_SAE)


# Help


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["work", "-h"], ["stats", "--help"]])
def test_help_imports_nothing_that_it_does_not_need(words: list[str]) -> None:
    run = f"import sys, encoder.cli\nsys.argv[1:] = {words!r}\ntry: encoder.cli.main()\nexcept SystemExit: pass\n"
    code = f"{run}print(*sys.modules, file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Usage: " in done.stdout
    assert not set(done.stderr.split()) & {"torch", "numpy", "sae_lens", "scipy", "numba", "rich.progress", "asyncio"}


def test_help_answers_in_under_0_3_s() -> None:
    took = []
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-m", "encoder", "--help"], stdout=subprocess.DEVNULL, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        took.append(used.ru_utime + used.ru_stime)
    assert min(took) < 0.3


def test_the_help_of_a_command_names_every_flag_of_the_contract(encode: Command) -> None:
    common = [
        "--device",
        "--batch-tokens",
        "--values",
        "--select",
        "--axes",
        "--backend",
        "--json",
        "--quiet",
        "--config",
    ]
    sae = ["--sae-release", "--sae-id", "--sae-path"]
    for command, flags in {
        "run": ["--out", *sae, "--workers", *common],
        "submit": ["--queue", "--out", *sae],
        "work": ["--queue", "--watch", *common],
        "status": ["--queue", "--json"],
        "retry": ["--queue", "[JOB...]"],
        "stats": ["--json", "DIR"],
        "index": ["--memory-mb", "--json", "--quiet", "DIR"],
    }.items():
        shown = encode(command, "--help").out
        for flag in flags:
            assert flag in shown, (command, flag)
        assert "--report" not in shown


def test_a_file_of_no_known_format_is_passed_over_aloud(site: Site, encode: Command) -> None:
    site.shard("a")
    (site.acts / "x.h5").write_bytes(b"\x89HDF\r\n")
    (site.acts / "README.txt").write_text("not data by its name")
    ended = encode("submit", site.acts, "--queue", site.folder / "queue", "--sae-path", site.params)
    assert ended.status == 0 and "1 shards submitted" in ended.out
    assert ended.err == f"note: {site.acts / 'x.h5'} is not read: no format here has the ending .h5\n"


# info


def test_info_says_what_computes_here_and_why(encode: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEFETCH_SCREEN", "bf16")
    told = encode("info", "--json", "--device", "cpu").document
    assert (told["device"], told["backend"], told["reason"]) == ("cpu", "cpu", "the device is the CPU")
    assert told["screen"]["topk"] == {"precision": "bf16", "reason": "set by SAEFETCH_SCREEN"}
    assert told["threads"] == torch.get_num_threads() and told["libraries"]["torch"] == torch.__version__
    shown = encode("info").out
    assert "screen     bf16 for TopK, set by SAEFETCH_SCREEN" in shown
    assert told["expected"]["tokens_per_second"] > 0 and told["expected"]["times_saelens"] > 0
    assert "tokens/s a thread for 2,304 inputs, 16,384 features and 100 active ones" in shown
    assert "asked for" in encode("info", "--backend", "reference").out
    encode("info", "--device", "cuda").refused("--device cuda", "--device cpu")
    monkeypatch.delenv("TRITON_INTERPRET")
    encode("info", "--device", "cpu", "--backend", "triton").refused("--backend triton", "CUDA")


def test_a_flag_of_ray_without_ray_is_told(site: Site, encode: Command) -> None:
    site.shard("a")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--ray-address", "10.0.0.1:6379")
    assert ended.status == 0 and "note: --ray-address and --num-gpus are for --engine ray" in ended.err


def test_without_ray_the_run_is_refused_before_any_work(
    site: Site, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    site.shard("a")
    ended = encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--engine", "ray")
    ended.refused("--engine ray needs ray: pip install 'saefetch[ray]'")
    assert not site.out.exists()


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torchs_threads_sleep_when_idle_unless_the_user_says_otherwise(
    before: str | None, after: str, encode: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    encode("status", "--queue", "none-here")
    assert os.environ["OMP_WAIT_POLICY"] == after
