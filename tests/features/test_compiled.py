"""Loops are compiled with a cache where there is a place for one, and run all the same where there is none."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = """
from encoder.machine.compiled import compiled

@compiled()
def twice(x):
    return 2 * x

stats = twice(21) and twice.stats
print("cached" if stats.cache_path else "uncached", sum(stats.cache_hits.values()), twice(21))
"""


def run(folder: Path, **environment: str) -> str:
    """Run a module of `folder` that compiles a loop; return whether there is a cache, its hits, and the result."""
    (folder / "loop.py").write_text(SOURCE)
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment = {**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-m", "loop"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_second_process_finds_what_the_first_one_compiled(tmp_path: Path) -> None:
    assert run(tmp_path) == "cached 0 42"
    assert run(tmp_path) == "cached 1 42"


def test_where_nothing_can_be_written_the_loop_runs_uncached(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("a file, so that no folder can be made here, not even by root")
    assert run(tmp_path, HOME="/dev/null") == "uncached 0 42"
