"""Fixtures that are too dear to make for each module, the mark `fast`, and where Triton kernels run.

Triton kernels run in its interpreter on the CPU, or, with `pytest -m gpu`, compiled on an NVIDIA GPU. The choice is an
environment variable that Triton reads when it is first imported, which `import torch` may do, and it holds for the
process. So it is made here, before any test module is collected and in every xdist worker, and not in the tests.
Nothing but the Triton kernels heeds it: `--backend auto` never picks an interpreted kernel.

Temporary files go to memory where there is room, as each of thousands of commits would wait for the disk. What a test
kills is a process, and no process can tell the difference.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fast
import pytest
from hub import HubProcess
from hypothesis import HealthCheck, settings
from s3_server import S3Server
from zygote import Zygote

if TYPE_CHECKING:
    from encoding import Command, Site

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 << 30


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: more threads would only wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    cache = tempfile.mkdtemp(prefix="saefetch-cache-")
    os.environ["SAEFETCH_CACHE_DIR"] = cache  # nothing of the user's is read, and nothing of the tests is left
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    gc.disable()  # until all is imported and collected: a million objects, none of them garbage


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, leave out what takes long to import."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if is_test and config.getoption("markexpr") == "fast" and fast.is_heavy(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    fast.mark(items)  # before pytest leaves out what `-m` does not ask for


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A stand-in for Hugging Face, of GemmaScope's repository; its files are for the tests to write."""
    with HubProcess("google/gemma-scope-2b-pt-res", tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory, hub: HubProcess) -> Iterator[Zygote]:
    """`sae-encode` as processes; what they download comes from `hub`."""
    folder: Path = tmp_path_factory.mktemp("zygote")
    with Zygote("encoder", folder, HF_ENDPOINT=hub.endpoint, HF_HOME=str(folder / "hf"), NO_PROXY="*") as zygote:
        yield zygote


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder with an SAE and room for shards, a queue and results."""
    from encoding import Site  # takes torch along

    return Site(tmp_path)


@pytest.fixture
def encode(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`sae-encode` as a function of its arguments, in this process, in a folder without a config/encoder.toml."""
    from encoding import command_of  # takes torch along

    monkeypatch.chdir(tmp_path)
    return command_of(monkeypatch, capfd)


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Seed torch where it is imported: SAELens makes the weights of new SAEs from its global generator."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Undo what a command that ran in this process set: other tests measure memory here."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """A bucket, which the environment leads to. What is copied to scratch meanwhile has to be removed again."""
    from encoder.machine.scratch import PREFIX

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with S3Server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running
    assert [path for path in scratch.iterdir() if path.name.startswith(PREFIX)] == []
