"""`saefetch.download`: what the command does, Python does, wherever it is called."""

from __future__ import annotations

import asyncio
import inspect
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from command import SUMMARY_KEYS, environment, saefetch, wait_until
from harness import MODEL, SOURCE, make_world

import saefetch as package
from saefetch import DownloadError, Labels, LockedError, RefusedError, SaefetchError, UsageError, download
from saefetch.files.lock import lock_folder
from saefetch.names.identity import sae_folder
from saefetch.settings import Settings
from standin import Fault, Respond, Standin

N_FEATURES = 60
HERE = {"sae_release": "a", "sae_id": "b", "neuronpedia_id": f"{MODEL}/{SOURCE}", "num_features": N_FEATURES}


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with Standin(make_world(N_FEATURES), lean=True) as standin:
        yield standin


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, without our variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SAEFETCH_", "NEURONPEDIA_"))]:
        monkeypatch.delenv(name)


def get(standin: Standin, **keywords: Any) -> Labels:
    urls = {"api_url": standin.api_url, "export_url": standin.export_url}
    fast = {"progress": False, "requests_per_second": 1e5, "max_attempts": 2, "max_wait_s": 0.5}
    return download(**urls | fast | HERE | keywords)


def texts(labels: Labels) -> list[str | None]:
    with labels:
        return [label.description for label in labels]


def test_the_public_surface_is_this() -> None:
    assert sorted(package.__all__) == [
        "DownloadError",
        "Explanation",
        "Hit",
        "Label",
        "Labels",
        "LockedError",
        "MissingExtraError",
        "RefusedError",
        "SaefetchError",
        "StoreError",
        "UsageError",
        "__version__",
        "download",
        "open_labels",
    ]
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = package.nope


def test_download_is_a_function_also_after_it_was_called(standin: Standin) -> None:
    get(standin).close()
    assert package.download is download and callable(package.download)


def test_the_signature_is_the_contracts() -> None:
    parameters = inspect.signature(download).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    assert list(defaults)[:2] == ["sae_release", "sae_id"]
    assert all(p.kind is p.KEYWORD_ONLY for name, p in list(parameters.items())[2:-1])
    assert defaults | {"config": None} == {
        "sae_release": None,
        "sae_id": None,
        "neuronpedia_id": None,
        "num_features": None,
        "source": "auto",
        "features": None,
        "refresh": False,
        "data_dir": "sae",
        "api_url": None,
        "export_url": None,
        "progress": True,
        "config": None,
    }


def test_every_setting_is_a_keyword(standin: Standin, tmp_path: Path) -> None:
    settings = Settings(**HERE, data_dir=tmp_path / "other", source="batch", batch_size=7, requests_per_second=1e5)
    given = {name: getattr(settings, name) for name in Settings.model_fields}
    given |= {"api_url": standin.api_url, "export_url": standin.export_url}
    assert len(texts(download(progress=False, **given))) == N_FEATURES
    assert (tmp_path / "other" / "a" / "b" / "labels.sqlite").is_file()


def test_it_returns_the_labels_of_the_command(standin: Standin, tmp_path: Path) -> None:
    words = ["download", "--json", "--data-dir", "by_command"]
    words += [word for name, value in HERE.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert saefetch(tmp_path, *words, standin=standin).status == 0
    labels = get(standin, data_dir="by_function")
    assert (len(labels), labels.release, labels.sae_id) == (N_FEATURES, "a", "b")
    files = [tmp_path / name / "a" / "b" / "feature_labels.json" for name in ("by_command", "by_function")]
    documents = [json.loads(path.read_bytes())["features"] for path in files]
    assert documents[0] == documents[1]
    assert [entry["description"] for entry in documents[0].values()] == texts(labels)


def test_the_environment_and_the_toml_give_defaults_and_a_keyword_wins(
    standin: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEFETCH_DATA_DIR", "from_env")
    get(standin).close()
    assert (tmp_path / "from_env" / "a" / "b").is_dir() and not (tmp_path / "sae").exists()
    get(standin, data_dir="sae").close()
    assert (tmp_path / "sae" / "a" / "b").is_dir(), "the default's value, given by the caller, is no default"
    (tmp_path / "other.toml").write_text('data_dir = "from_toml"')
    monkeypatch.delenv("SAEFETCH_DATA_DIR")
    get(standin, config="other.toml").close()
    assert (tmp_path / "from_toml" / "a" / "b").is_dir()


@pytest.mark.parametrize("features", ["10:20", range(10, 20)])
def test_features_are_words_or_a_range(standin: Standin, features: str | range) -> None:
    with get(standin, source="batch", features=features) as labels:
        assert [label.index for label in labels if label.error is None] == list(range(10, 20))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"concurency": 3}, "unknown setting 'concurency'; the closest known one is 'concurrency'"),
        ({"concurrency": "many"}, "--concurrency 'many'"),
        ({"source": "nope"}, "--source 'nope'"),
        ({"features": "5"}, "expected A:B"),
        ({"features": range(0, 10, 2)}, "step 1"),
        ({"config": "nope.toml"}, "there is no such file"),
        ({"sae_release": None, "sae_id": "nope", "neuronpedia_id": None}, "maps no SAE"),
        ({"sae_release": None, "sae_id": "layer_*/width_16k/canonical", "neuronpedia_id": None}, "names 26 SAEs"),
    ],
)
def test_what_is_asked_wrongly_is_a_usage_error_before_anything_happens(
    standin: Standin, tmp_path: Path, keywords: dict[str, Any], message: str
) -> None:
    before = len(standin.requests)
    with pytest.raises(UsageError, match=message.replace("*", r"\*")) as caught:
        get(standin, **keywords)
    assert caught.value.outcome == {"error": str(caught.value), "exit_status": 2}
    assert len(standin.requests) == before and not list(tmp_path.iterdir())


def test_features_that_failed_are_a_download_error_with_the_outcome_and_the_rest_is_safe(tmp_path: Path) -> None:
    with Standin(make_world(N_FEATURES), nan_features={(MODEL, SOURCE, 7)}, lean=True) as standin:
        with pytest.raises(DownloadError, match="1 features failed") as caught:
            get(standin, source="batch")
        outcome = caught.value.outcome
        assert list(outcome) == SUMMARY_KEYS
        assert (outcome["successful"], outcome["failed"]) == (N_FEATURES - 1, 1)
        with package.open_labels("sae", "a", "b") as labels:
            assert labels[8].error is None and labels[7].error is not None


def test_an_sae_that_the_server_does_not_know_is_refused(standin: Standin) -> None:
    with pytest.raises(RefusedError, match="gemma-2-2b/no-such") as caught:
        get(standin, neuronpedia_id="gemma-2-2b/no-such")
    assert caught.value.outcome["neuronpedia_id"] == "gemma-2-2b/no-such"


def test_an_sae_that_another_process_has_is_locked(standin: Standin, tmp_path: Path) -> None:
    folder = sae_folder(tmp_path / "sae", "a", "b")
    folder.mkdir(parents=True)
    with lock_folder(folder), pytest.raises(LockedError, match=f"pid {os.getpid()}") as caught:
        get(standin)
    assert list(caught.value.outcome) == SUMMARY_KEYS


def test_without_a_server_it_is_a_download_error_that_names_the_host() -> None:
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9"):
        download(**HERE, api_url="http://127.0.0.1:9", export_url="http://127.0.0.1:9", progress=False)


@pytest.mark.parametrize("kind", [UsageError, RefusedError, LockedError, DownloadError])
def test_each_error_has_its_commands_exit_status(kind: type[SaefetchError]) -> None:
    assert kind.exit_status == {UsageError: 2, RefusedError: 3, LockedError: 4, DownloadError: 1}[kind]


def test_progress_may_be_a_function(standin: Standin) -> None:
    heard: list[tuple[int, int, str]] = []
    get(standin, source="batch", batch_size=20, progress=lambda *said: heard.append(said)).close()
    assert {total for _, total, _ in heard} == {N_FEATURES}
    done = [done for done, _, _ in heard]
    assert done == sorted(done) and done[-1] == N_FEATURES and 20 in done


def test_an_exception_of_the_progress_function_comes_out_and_what_came_is_kept(standin: Standin) -> None:
    def complain(done: int, total: int, text: str) -> None:
        if done >= 20:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        get(standin, source="batch", batch_size=20, progress=complain, concurrency=1)
    with get(standin) as labels:
        assert len(labels) == N_FEATURES


def test_it_works_inside_a_running_event_loop(standin: Standin) -> None:
    async def cell() -> list[str | None]:
        return texts(get(standin))

    assert len(asyncio.run(cell())) == N_FEATURES


def in_a_worker(keywords: dict[str, Any]) -> int:
    with download(**keywords) as labels:
        return len(labels)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_works_in_a_worker_process(standin: Standin, method: str) -> None:
    urls = {"api_url": standin.api_url, "export_url": standin.export_url, "progress": False}
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(in_a_worker, (HERE | urls,)) == N_FEATURES


def test_it_works_in_a_thread_that_is_not_the_main_one(standin: Standin) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(texts(get(standin)))))
    thread.start()
    thread.join()
    assert found == [N_FEATURES]


SCRIPT = """
import asyncio, json, sys
import saefetch
def work():
    try:
        saefetch.download(**json.loads(sys.argv[1]))
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
async def cell():
    work()
work() if sys.argv[2] == "script" else asyncio.run(cell())
"""


@pytest.mark.parametrize("where", ["script", "loop"])
def test_ctrl_c_is_a_keyboard_interrupt_after_what_came_is_committed(tmp_path: Path, where: str) -> None:
    with Standin(make_world(N_FEATURES), lean=True, latency_s=0.1) as standin:
        keywords = HERE | {"source": "batch", "batch_size": 5, "concurrency": 1, "progress": False}
        command = [sys.executable, "-c", SCRIPT, json.dumps(keywords), where]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(standin), stdout=subprocess.PIPE, text=True)
        wait_until(lambda: len(standin.requests) > 3)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "KeyboardInterrupt\n"
        n_asked = len(standin.requests)
    with package.open_labels(tmp_path / "sae", "a", "b") as labels:
        n_here = sum(label.error is None for label in labels)
    assert 5 * (n_asked - 2) <= n_here < N_FEATURES
    assert not (tmp_path / "sae" / "a" / "b" / ".lock").exists()


def test_a_failed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    faults = [Fault(Respond(403), match="POST", skip=2, times=None)]
    with Standin(make_world(N_FEATURES), lean=True, faults=faults) as standin:
        with pytest.raises(RefusedError):
            get(standin, source="batch", batch_size=10, concurrency=1)
        standin.faults.clear()
        before = len(standin.requests)
        get(standin, source="batch", batch_size=10).close()
        assert len(standin.requests) - before == 4


def test_summary_keys_are_those_of_the_contract() -> None:
    from saefetch.downloading.outcome import Summary

    assert [field.name for field in fields(Summary)] == SUMMARY_KEYS
