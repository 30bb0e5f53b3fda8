"""The stand-in for Hugging Face as a process of its own, as `make demo` starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Self


class HubProcess:
    """Serves `root` as the repository `repo` at `endpoint`."""

    def __init__(self, repo: str, root: Path) -> None:
        self.repo, self.root, self.endpoint = repo, root, ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "standin.hub", "--repo", self.repo, "--root", str(self.root)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = json.loads(self._process.stdout.readline())["endpoint"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(timeout=120) == 0
