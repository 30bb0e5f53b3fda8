"""The README's commands and code are run as they stand, so that none of them is wrong."""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from command import environment, warm
from dashboard_data import write_features, write_labels, write_queue
from encoding import gemma_scope
from hub import HubProcess
from zygote import Zygote

from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID
from saefetch.store.store import Store
from standin import Standin, World

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEFAULT_PATH = "layer_16/width_16k/average_l0_78"
N_FEATURES = 500
"""Of each SAE: what the README shows must be among the first ones."""


def commands(text: str, program: str = "saefetch") -> list[tuple[str, str]]:
    """Return, in their order, ("sh", each command of `program`) and ("python", each block about its package)."""
    found = []
    for language, body in BLOCK.findall(text):
        if language in ("sh", "bash", "console"):
            for line in body.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("$ ")
                if line.startswith(f"{program} "):
                    found.append(("sh", line))
        elif language == "python" and (program == "sae-encode") == bool(re.search(r"\bencoder\b", body)):
            found.append(("python", body))
    return found


@pytest.fixture
def standin() -> Iterator[Standin]:
    world = World()
    for layer in range(26):
        world.add_source("gemma-2-2b", f"{layer}-gemmascope-res-16k", N_FEATURES)
    with Standin(world, lean=True) as running:
        yield running


def test_every_command_and_every_piece_of_python_in_the_readme_works(standin: Standin, tmp_path: Path) -> None:
    steps = commands(README.read_text(encoding="utf-8"))
    if not steps:
        pytest.skip("README.md has no commands yet")
    env = environment(standin, SAEFETCH_NUM_FEATURES=str(N_FEATURES))
    for language, text in steps:
        words = ["-c", text] if language == "python" else shlex.split(text, comments=True)[1:]
        status, ran = warm().run(*words, cwd=tmp_path, environment=env)
        assert status == 0, f"{text}\nfailed with {status}:\n{ran.out[-2000:]}{ran.err[-2000:]}"


def test_every_encoder_command_and_its_python_in_the_readme_works(
    hub: HubProcess, zygote: Zygote, tmp_path: Path
) -> None:
    gemma_scope(hub.root / DEFAULT_PATH)
    gemma_scope(tmp_path / "params", 64)
    (tmp_path / "params" / "params.npz").rename(tmp_path / "params.npz")
    x = np.zeros((20, 2304), np.float32)
    x[:, :16] = np.random.default_rng(0).normal(size=(20, 16)) * 9
    (tmp_path / "activations").mkdir()
    for path in ("acts.npy", "activations/a.npy", "activations/b.npy"):
        np.save(tmp_path / path, x)
    labels = tmp_path / "sae" / DEFAULT_RELEASE / DEFAULT_SAE_ID.replace("/", "_")
    labels.mkdir(parents=True)
    with closing(Store.open(labels)) as store:
        store.set_meta(release=DEFAULT_RELEASE, sae_id=DEFAULT_SAE_ID, num_features=16384)
        store.set_meta(neuronpedia_id="gemma-2-2b/16-gemmascope-res-16k")
    steps = commands(README.read_text(encoding="utf-8"), "sae-encode")
    assert len(steps) > 7
    for language, text in steps:
        words = ["-c", text] if language == "python" else shlex.split(text, comments=True)[1:]
        own = "features-of-params" if "--sae-path" in words else "features"  # each SAE gets its own output folder
        status, ran = zygote.run(*(own if word == "features" else word for word in words), cwd=tmp_path)
        assert status == 0, f"{text}\n{ran.err[-2000:]}"


def test_every_dashboard_command_in_the_readme_works(tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    write_features(tmp_path / "features")
    write_queue(tmp_path / "queue")
    write_features(tmp_path / "queue" / "out")
    found = commands(README.read_text(encoding="utf-8"), "sae-dashboard")
    steps = [text for language, text in found if language == "sh"]
    assert len(steps) > 2
    for text in steps:
        command = shlex.split(text, comments=True)[1:]
        serves = "--static" not in command
        env = environment(None, BROWSER="true")
        words = [sys.executable, "-m", "dashboard", *command, *(["--port", "0"] if serves else [])]
        with subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            if serves:
                with urlopen(f"{said}api/summary", timeout=120) as answer:
                    assert json.load(answer)["features"]["n_shards"] == 5
                process.send_signal(signal.SIGINT)
        assert process.returncode == (130 if serves else 0), text


def test_the_commands_are_found_where_they_stand() -> None:
    text = "# x\n```sh\nmake demo\nsaefetch search \\\n  dogs\n$ saefetch status   # all\n```\nsaefetch no\n"
    text += (
        "```python\nfrom saefetch import open_labels\n```\n```python\nimport encoder, saefetch\n```\n```json\n{}\n```\n"
    )
    assert commands(text) == [
        ("sh", "saefetch search    dogs"),
        ("sh", "saefetch status   # all"),
        ("python", "from saefetch import open_labels\n"),
    ]
