"""A command line is a thin face of its function: what a flag does, a keyword does, and a setting has its flag."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import encoder
import saefetch
from encoder.cli import app as encode_app
from encoder.options import Options
from saefetch.cli import app as labels_app
from saefetch.settings import Settings

NO_FLAG = {"lease_s", "max_attempts", "stable_s"}
"""Settings of a queue: in the TOML file and in the environment only."""
SHARING_OUT = {"workers", "engine", "ray_address", "num_cpus", "num_gpus"}
"""Settings of a run, for which one worker of a queue has no use."""
FACE = {"context", "config", "json", "quiet"}
SAE = {"sae_release", "sae_id", "sae_path"}


def names(function: Callable[..., Any]) -> set[str]:
    return {name for name, found in inspect.signature(function).parameters.items() if found.kind != found.VAR_KEYWORD}


def test_each_setting_of_an_encoding_is_a_flag_of_run_and_those_of_a_worker_of_work() -> None:
    assert set(Options.model_fields) - names(encode_app.run) == NO_FLAG
    assert set(Options.model_fields) - names(encode_app.work) == NO_FLAG | SHARING_OUT


def test_each_flag_of_run_is_a_keyword_of_encode_files() -> None:
    assert names(encode_app.run) - FACE - SAE == names(encoder.encode_files) - {"sae", "progress"} - NO_FLAG


def test_each_flag_of_download_is_a_keyword_of_download() -> None:
    flags = names(labels_app.download) - {"context", "json", "quiet"}
    assert flags <= names(saefetch.download) | set(Settings.model_fields)


@pytest.mark.parametrize("command", [encode_app.run, encode_app.submit, encode_app.work, encode_app.info])
def test_a_flag_that_has_a_setting_has_no_default_of_its_own(command: Callable[..., Any]) -> None:
    for name, found in inspect.signature(command).parameters.items():
        if name in Options.model_fields:
            assert found.default in (None, False), f"--{name} would win over the environment without being given"
