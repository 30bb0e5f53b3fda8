"""The README's commands and code are run as they stand, so that none of them is wrong."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import environment

from saefetch.standin import Standin, World

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
N_FEATURES = 500
"""Of each SAE: what the README shows must be among the first ones."""


def commands(text: str) -> list[tuple[str, str]]:
    """Return, in their order, ("sh", each `saefetch` command) and ("python", each block that is about saefetch)."""
    found = []
    for language, body in BLOCK.findall(text):
        if language in ("sh", "bash", "console"):
            for line in body.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("$ ")
                if line.startswith("saefetch "):
                    found.append(("sh", line))
        elif language == "python" and "saefetch" in body and not re.search(r"\b(encoder|dashboard)\b", body):
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
        command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, (
            f"{text}\nfailed with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


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
