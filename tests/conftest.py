"""Fixtures of the encoder's tests that are too dear to make for each module. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from encode_zygote import Zygote
from hub import HubProcess


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A stand-in for Hugging Face, of GemmaScope's repository; its files are for the tests to write."""
    with HubProcess("google/gemma-scope-2b-pt-res", tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory, hub: HubProcess) -> Iterator[Zygote]:
    """`sae-encode` as processes; what they download comes from `hub`."""
    folder: Path = tmp_path_factory.mktemp("zygote")
    with Zygote(folder, HF_ENDPOINT=hub.endpoint, HF_HOME=str(folder / "hf"), NO_PROXY="*") as zygote:
        yield zygote
