"""`sae-dashboard` as a process: what it says, how it ends."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import scipy.sparse
from command import Ended, end, ends_soon, environment
from dashboard_data import made_up, write_features, write_labels, write_shard

from dashboard.cli.app import app
from dashboard.errors import DashboardError
from saefetch.errors import SaefetchError
from saefetch.terminal.program import run_app


def start(cwd: Path, *args: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dashboard", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=environment(None), text=True, encoding="utf-8", **pipes)


def dashboard(cwd: Path, *args: str | Path) -> Ended:
    return end(start(cwd, *args))


@contextmanager
def running(cwd: Path, *args: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start(cwd, *args)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard")
    write_labels(path / "sae")
    write_features(path / "features")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_its_address_serves_and_ends_quietly(folder: Path, number: signal.Signals) -> None:
    with running(folder, "--port", "0") as (process, address):
        started_s = sum(psutil.Process(process.pid).cpu_times()[:2])
        assert address.startswith("http://127.0.0.1:") and address.endswith("/")
        with urllib.request.urlopen(f"{address}api/summary", timeout=120) as answer:
            assert b'"n_shards":5' in answer.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (128 + number, "", "")
    assert started_s < 5  # under a second by itself, see benchmarks/dashboard.py


def test_a_port_in_use_is_said_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = dashboard(folder, "--port", str(port))
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"sae-dashboard: port {port} is in use") and ended.err.count("\n") == 1


def test_an_address_of_another_machine_cannot_be_listened_at(folder: Path) -> None:
    ended = dashboard(folder, "--host", "192.0.2.1", "--port", "0")
    assert ended.status == 2 and ended.err.startswith("sae-dashboard: cannot listen at 192.0.2.1")


def test_an_address_that_others_can_reach_comes_with_its_token(folder: Path) -> None:
    with running(folder, "--host", "0.0.0.0", "--port", "0") as (_, address):
        assert "/?token=" in address and len(address.split("token=")[1]) >= 32


def test_walks_through_a_billion_values_keep_neither_a_token_nor_the_end_waiting(tmp_path: Path) -> None:
    """Each takes ten seconds: one shard of two million values stands for 500."""
    folder = tmp_path / "features"
    folder.mkdir()
    n_rows, n_active = 20_000, 100
    columns = np.tile(np.arange(0, 5 * n_active, 5, dtype=np.int32), n_rows)
    values = np.ones(len(columns), np.float32)
    indptr = np.arange(0, len(columns) + 1, n_active)
    write_shard(folder / "0.npz", scipy.sparse.csr_matrix((values, columns, indptr), (n_rows, 512)))
    for number in range(1, 500):
        os.link(folder / "0.npz", folder / f"{number}.npz")
    with running(tmp_path, "--port", "0") as (process, address), ExitStack() as walks:
        place = urlsplit(address)
        for number in range(6):
            walk = walks.enter_context(socket.create_connection((place.hostname or "", place.port or 0)))
            target = f"/api/search?a={10 * number}-{10 * number + 240}"
            walk.sendall(f"GET {target} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        with urllib.request.urlopen(f"{address}api/rows/12345", timeout=120) as answer:
            assert b'"l0":100' in answer.read()
        assert not select.select([walk], [], [], 0)[0], "the walk took no time, so this showed nothing"
        with ends_soon(process, 10.0):  # the six walks go on meanwhile, on every core: 5 s of two cores
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (130, "")


def test_labels_of_another_sae_are_said_not_to_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_features(tmp_path / "features")
    write_labels(tmp_path / "sae", release="other", sae_id="other")
    assert in_this_process(monkeypatch, "--static", "out", "--documents", "6") == 0
    said = capsys.readouterr().err
    assert "no labels are shown: " in said and "different SAEs" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--static", "out", "--features", "nowhere"], "no features in nowhere yet; sae-encode run"),
        (["--documents", "0"], "--documents goes with --static"),
        (["--port", "99999"], "less than or equal to 65535"),
        (["--tokenizer", "nowhere.json"], "nowhere.json"),
        (["--sae-release", "some-release"], "--sae-release some-release needs --sae-id"),
        (["--static", "features"], "is there and not an export"),
        (["--static", "out", "--documents", "0-99"], "there are 7, counted from 0"),
        (["more"], "more"),
    ],
)
def test_bad_usage_is_exit_2_and_says_why(
    folder: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SaefetchError, match=re.escape(says)) as refused:
        in_this_process(monkeypatch, *arguments)
    assert refused.value.exit_status == 2 and "\n" not in str(refused.value)


def in_this_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sae-dashboard", *arguments])
    return run_app(app, "sae-dashboard", lambda command: None)


def test_a_damaged_file_is_exit_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_features(tmp_path / "features")
    (tmp_path / "features" / "ids.npz").write_bytes(b"PK")
    with pytest.raises(DashboardError, match=r"ids\.npz"):
        in_this_process(monkeypatch)


def test_features_of_two_saes_in_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_features(tmp_path / "features")
    write_shard(tmp_path / "features" / "other.npz", made_up(3, 1), weights_sha256="cd" * 32)
    with pytest.raises(DashboardError, match="come from different SAEs"):
        in_this_process(monkeypatch)


def test_help_and_version_are_answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_this_process(monkeypatch, "--help") == 0 and "--static OUT" in capsys.readouterr().out
    assert in_this_process(monkeypatch, "--version") == 0 and capsys.readouterr().out.startswith("sae-dashboard ")
    assert in_this_process(monkeypatch, "sae-dashboard", "--help") == 0


def test_a_static_folder_is_written_and_its_page_named(folder: Path, tmp_path: Path) -> None:
    ended = dashboard(folder, "--static", tmp_path / "out", "--documents", "0,2-3")
    assert (ended.status, ended.out.strip()) == (0, str(tmp_path / "out" / "index.html")), ended.err
    assert "3 documents" in ended.err
    assert sorted(path.name for path in (tmp_path / "out" / "data").glob("document-*.js")) == [
        f"document-{number}.js" for number in (0, 2, 3)
    ]
