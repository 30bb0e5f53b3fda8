"""The name of this machine's processor."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def cpu_model() -> str:
    """Return the model name that Linux knows; on other systems what Python's `platform` knows."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"model name\s*: (.+)", text)
    return model[1].strip() if model else platform.machine()
