"""The public surface of `encoder`: these names, and nothing heavy until one of them is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import encoder

ROOT = Path(__file__).resolve().parents[1]


def test_the_public_names_are_these_and_each_of_them_is_there() -> None:
    assert sorted(encoder.__all__) == sorted(encoder._HOMES) == [
        "Active",
        "EncodeError",
        "EncoderError",
        "FeatureIndex",
        "Features",
        "InputError",
        "LabelledFeatures",
        "LoadedSae",
        "MismatchError",
        "Rule",
        "ShardError",
        "encode",
        "encode_files",
        "index_state",
        "load_sae",
        "open_features",
        "open_index",
        "register_rule",
    ]  # fmt: skip
    for name in encoder.__all__:
        assert getattr(encoder, name).__name__ == name


def test_importing_the_encoder_imports_nothing_heavy() -> None:
    code = "import sys, encoder\nencoder.EncodeError, encoder.open_features\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(done.stdout.split()) & {"torch", "sae_lens", "numba", "triton", "pandas", "scipy"}
    code = "import sys, encoder\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(done.stdout.split()) & {"numpy", "scipy", "torch", "typer", "rich"}
