"""What is known of an SAE without its weights, and that it never counts when the SAE on disk may be another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import encoding
import pytest
import torch
from encoding import Command, Site, make_module, save
from hub import HubProcess

from encoder.errors import InputError
from encoder.machine.cache import Cache, cache_folder
from encoder.sae import known as known_module
from encoder.sae.footprint import MAX_FILES, Footprint, footprint_of, is_settled
from encoder.sae.known import Known, Memory, recall
from encoder.sae.load import load_named

LATER_NS = 10_000_000_000
"""Long after every file of a test was written."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAEFETCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAEs are read long after their files were written."""
    now = time.time_ns
    monkeypatch.setattr(known_module, "time_ns", lambda: now() + LATER_NS)


def named(path: Path, **more: Any) -> dict[str, Any]:
    return {"sae_release": None, "sae_id": None, "sae_path": str(path), **more}


def remembered(path: Path) -> dict[str, Any]:
    """Load the SAE, which is kept then, and return its name."""
    load_named(named(path))
    assert recall(named(path)).known is not None
    return named(path)


# What is known


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("kind", ["folder", "params.npz"])
def test_what_is_recalled_is_what_loading_finds(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        module = make_module("topk", k=3)
        module.cfg.metadata.hook_name, module.cfg.metadata.model_name = "blocks.3.hook_resid_post", "gpt2-small"
        path = save(module, tmp_path / "sae")
    else:
        path = encoding.save_params(tmp_path / "params.npz", encoding.dictionary())
    assert recall(named(path)) == recall(named(path, fold_decoder_norm=True)) == known_module.Recalled()
    sae = load_named(named(path))
    assert recall(named(path)).known == sae.known
    folded = load_named(named(path, fold_decoder_norm=True))
    assert recall(named(path, fold_decoder_norm=True)).known == folded.known
    assert folded.known.weights_sha256 != sae.known.weights_sha256 == sae.identity["weights_sha256"]


@pytest.mark.usefixtures("later")
def test_it_is_known_in_another_process_which_imports_nothing_heavy(tmp_path: Path) -> None:
    path = encoding.save_params(tmp_path / "params.npz", encoding.dictionary())
    sae = remembered(path)
    code = f"""
import sys
from encoder.sae.known import recall
print(recall({sae!r}).known.weights_sha256)
print({{"torch", "numpy", "sae_lens", "numba", "scipy"}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [load_named(sae).identity["weights_sha256"], "set()"]


# When it does not count


def wait_for_the_clock_of(path: Path) -> None:
    """Wait until a file that is written now gets another time than this one has: some milliseconds."""
    probe = path.with_name("probe")
    probe.touch()
    while probe.stat().st_ctime_ns <= path.stat().st_ctime_ns:
        probe.touch()
    probe.unlink()


def rewritten_in_place(path: Path) -> None:
    """Other weights of the same size, with the times that the file had."""
    status = path.stat()
    encoding.save_params(path, encoding.dictionary(seed=9))
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns


def replaced(path: Path) -> None:
    status = path.stat()
    encoding.save_params(path.with_name("new.npz"), encoding.dictionary(seed=9)).replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def led_elsewhere(path: Path) -> None:
    other = encoding.save_params(path.with_name("new.npz"), encoding.dictionary(seed=9))
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    path.unlink()
    path.symlink_to(other)


def a_configuration_beside(path: Path) -> None:
    (path.parent / "config.json").write_text("{}")


CHANGES: dict[str, Callable[[Path], None]] = {
    "rewritten, with its times put back": rewritten_in_place,
    "replaced by a file of the same size and time": replaced,
    "a link to another file": led_elsewhere,
    "a configuration beside it": a_configuration_beside,
    "gone": Path.unlink,
}


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changed_in_any_way_is_not_taken_for_the_one_that_was_read(name: str, tmp_path: Path) -> None:
    path = encoding.save_params(tmp_path / "params.npz", encoding.dictionary())
    sae = remembered(path)
    wait_for_the_clock_of(path)
    CHANGES[name](path)
    found = recall(sae)
    assert found.known is None and found.changed is not None and str(path) in found.changed


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("change", ["other weights", "NaN"])
def test_what_is_known_is_not_said_of_other_weights(change: str, tmp_path: Path) -> None:
    """An SAE that is known is not hashed again when it is loaded, nor looked through for NaN."""
    path = encoding.save_params(tmp_path / "params.npz", encoding.dictionary())
    before = load_named(remembered(path))
    assert load_named(named(path)).known == before.known
    wait_for_the_clock_of(path)
    if change == "NaN":
        encoding.save_params(path, encoding.dictionary() | {"b_enc": torch.full((encoding.D_SAE,), torch.nan)})
        with pytest.raises(InputError, match="b_enc holds NaN"):
            load_named(named(path))
    else:
        rewritten_in_place(path)
        after = load_named(named(path)).identity["weights_sha256"]
        path.rename(tmp_path / "moved.npz")
        assert after == load_named(named(tmp_path / "moved.npz")).identity["weights_sha256"]
        assert after != before.identity["weights_sha256"]


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors", "activation_scaler.json", "sub/x.safetensors"])
def test_every_file_of_a_folder_counts_also_one_that_was_not_there(name: str, tmp_path: Path) -> None:
    sae = remembered(save(make_module("jumprelu"), tmp_path / "sae"))
    file = tmp_path / "sae" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert recall(sae).known is None


@pytest.mark.usefixtures("later")
def test_another_version_of_the_code_reads_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = remembered(encoding.save_params(tmp_path / "params.npz", encoding.dictionary()))
    monkeypatch.setattr(known_module, "_code", lambda: "another")
    assert recall(sae) == known_module.Recalled()


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    """It may be written again within the grain of the clock, and look the same."""
    path = tmp_path / "params.npz"
    memory = Memory(named(path))
    encoding.save_params(path, encoding.dictionary())
    load_named(named(path))
    memory.keep(Known({"weights_sha256": "0"}, "jumprelu", "", "", 1, 1, (1.0, 1.0), None))
    assert recall(named(path)).known is None


@pytest.mark.usefixtures("later")
def test_a_file_that_changed_while_it_was_read_is_not_remembered(tmp_path: Path) -> None:
    path = encoding.save_params(tmp_path / "params.npz", encoding.dictionary())
    memory = Memory(named(path))
    path.write_bytes(path.read_bytes())
    memory.keep(Known({"weights_sha256": "0"}, "jumprelu", "", "", 1, 1, (1.0, 1.0), None))
    assert recall(named(path)) == known_module.Recalled()


@pytest.mark.parametrize(
    ("mtime", "ctime", "began", "settled"),
    [
        (0, 5_000_000_123, 5_200_000_000, True),
        (0, 5_000_000_123, 5_050_000_000, False),
        (5_000_000_123, 4_000_000_123, 5_050_000_000, False),
        (9_000_000_123, 4_000_000_123, 5_050_000_000, False),  # a time that is yet to come
        (0, 5_000_000_000, 6_000_000_000, False),  # a clock of seconds
        (0, 5_000_000_000, 7_000_000_001, True),
    ],
)
def test_a_time_is_past_where_a_later_write_gives_another_one(
    mtime: int, ctime: int, began: int, settled: bool
) -> None:
    footprint: Footprint = {"a": [1, 0, 1_000_000_123, 2], "b": [1, mtime, ctime, 3]}
    assert is_settled(footprint, began) is settled


def test_a_folder_of_too_many_files_has_no_footprint(tmp_path: Path) -> None:
    for i in range(MAX_FILES + 1):
        (tmp_path / str(i)).touch()
    assert footprint_of(tmp_path) is None
    (tmp_path / "0").unlink()
    assert footprint_of(tmp_path) is not None


# The cache


def test_the_folder_is_ours_by_name_else_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("SAEFETCH_CACHE_DIR", "")
    assert cache_folder() is None
    monkeypatch.delenv("SAEFETCH_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "saefetch"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "saefetch"


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(cache: Path) -> None:
    for i in range(12):
        Cache("some", 10).put({"i": i}, {"value": i})
        for place, path in enumerate(sorted((cache / "some").iterdir(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, (place, place))
    assert [i for i in range(12) if Cache("some", 10).get({"i": i}) == {"value": i}] == [*range(2, 12)]
    assert len(list((cache / "some").iterdir())) == 10


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "cut": lambda text: text[:-9],
    "zeros": lambda text: bytes(len(text)),
    "a list": lambda text: b"[]",
    "of another format": lambda text: text.replace(b'"format": 1', b'"format": 0'),
    "of another key": lambda text: text.replace(b'"name"', b'"nome"'),
    "deep": lambda text: b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_entry_counts_as_none_and_is_replaced(name: str, cache: Path) -> None:
    key = {"name": 1}
    Cache("some", 10).put(key, {"value": 1})
    (path,) = (cache / "some").iterdir()
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    assert Cache("some", 10).get(key) is None
    Cache("some", 10).put(key, {"value": 2})
    assert Cache("some", 10).get(key) == {"value": 2}


def test_many_writers_at_once_leave_whole_entries_and_nothing_else(cache: Path) -> None:
    def put(i: int) -> dict[str, Any] | None:
        Cache("some", 4).put({"key": i % 6}, {"value": i, "more": "x" * 5000})
        return Cache("some", 4).get({"key": i % 6})

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(put, range(200)))
    assert all(one is None or len(one["more"]) == 5000 for one in found) and any(found)
    names = [path.name for path in (cache / "some").iterdir()]
    assert 0 < len(names) <= 4 and not any(name.startswith(".") for name in names)


def test_where_nothing_can_be_written_nothing_is_kept_and_nobody_complains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAEFETCH_CACHE_DIR", str(tmp_path / "file"))
    Cache("some", 10).put({}, {"value": 1})
    assert Cache("some", 10).get({}) is None


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "change", [{"known": {"identity": {}}}, {"known": None}, {"footprint": None}, {"hub": ["/nowhere", "x"]}]
)
def test_an_entry_of_another_form_counts_as_none(change: dict[str, Any], tmp_path: Path, cache: Path) -> None:
    sae = remembered(encoding.save_params(tmp_path / "params.npz", encoding.dictionary()))
    (path,) = (cache / "saes").iterdir()
    entry = json.loads(path.read_text())
    entry["document"] |= change
    path.write_text(json.dumps(entry))
    assert recall(sae).known is None


# Runs


LIGHT = """
import json, sys
from pathlib import Path
import encoder.cli
from encoder import open_features
HEAVY = {"torch", "sae_lens", "numba", "triton", "transformers", "datasets", "transformer_lens", "pandas", "pyarrow"}
HEAVY.add("scipy")
for words in json.loads(sys.argv[1]):
    sys.argv = ["sae-encode", *words]
    try:
        encoder.cli.main()
    except SystemExit as exc:
        print("ENDED", exc.code, *words, "IMPORTED", *sorted(HEAVY & {*sys.modules}))
with open_features(Path("out")) as features:
    features[0:2]
print("ENDED 0 open_features IMPORTED", *sorted((HEAVY & {*sys.modules}) - {"scipy"}))  # it hands out scipy's matrices
"""


@pytest.mark.usefixtures("later")
def test_commands_that_encode_nothing_import_nothing_heavy(tmp_path: Path, encode: Command) -> None:
    """All in one process: what the first imports, the last would show."""
    site = Site(tmp_path)
    site.shard("a")
    run = ["run", "acts", "--out", "out", "--sae-path", "params.npz"]
    assert encode("run", site.acts, "--out", site.out, "--sae-path", site.params).status == 0
    before = site.results()
    commands: dict[tuple[str, ...], int] = {
        ("--help",): 0,
        ("--version",): 0,
        ("run", "--help"): 0,
        tuple(run): 0,
        (*run, "--workers", "3", "--json"): 0,
        ("stats", "out"): 0,
        ("submit", "acts", "--queue", "queue", "--sae-path", "params.npz"): 0,
        ("status", "--queue", "queue"): 0,
        ("run",): 2,
        ("run", "acts", "--out", "out", "--sae-path", "nowhere"): 2,
        ("run", "nowhere", "--out", "out", "--sae-path", "params.npz"): 2,
        ("run", "acts", "--out", "out", "--sae-release", "unnamed"): 2,
        (*run, "--device", "tpu"): 2,
        (*run, "--values", "int7"): 2,
        (*run, "--select", "layer=1,layer=2"): 2,
        (*run, "--exclude-tokens", "x"): 2,
        (*run, "--exclude-first", "3"): 2,  # the results are of all rows
        (*run, "--telepathy"): 2,
        (*run, "--config", "nowhere.toml"): 2,
        ("telepathy",): 2,
        ("work", "--queue", "nowhere"): 2,
        ("status", "--queue", "nowhere"): 2,
        ("stats", "acts"): 1,
    }
    command = [sys.executable, "-c", LIGHT, json.dumps([*commands])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert [line.split()[1] for line in ended] == [str(status) for status in (*commands.values(), 0)], done
    for line in ended:
        assert line.endswith("IMPORTED"), line
    assert "0 shards encoded, 0 tokens, 1 finished before" in done.stdout and site.results() == before


@pytest.mark.usefixtures("later")
def test_a_run_with_an_sae_that_was_written_over_says_so_and_is_refused(tmp_path: Path, encode: Command) -> None:
    site = Site(tmp_path)
    site.shard("a")
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params)
    assert encode(*run).status == 0
    rewritten_in_place(site.params)
    ended = encode(*run)
    assert ended.status == 2 and "was made with weights_sha256" in ended.err
    assert "params.npz has changed since it was read last" in ended.err


def test_an_sae_of_the_hub_is_known_by_its_revision(
    tmp_path: Path, hub: HubProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, as Hugging Face's library reads its settings when it is imported."""
    folder = "layer_3/width_16k/average_l0_59"
    path = hub.root / folder
    path.mkdir(parents=True, exist_ok=True)
    encoding.gemma_scope(path)
    for name, value in {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, value)
    sae = {"sae_release": "gemma-scope-2b-pt-res", "sae_id": folder}
    code = f"""
from encoder.sae.load import load_named
from encoder.sae.known import recall
sae = load_named({sae!r})
assert recall({sae!r}).known == sae.known, recall({sae!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    found = recall(sae).known
    assert found is not None and found.hook_name == "blocks.3.hook_resid_post" and found.expected_l0 == 59
    (repository,) = (tmp_path / "hf" / "hub").glob("models--*")
    (repository / "refs" / "main").write_text("0" * 40)
    assert recall(sae).known is None
