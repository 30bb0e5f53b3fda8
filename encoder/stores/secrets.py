"""What other libraries say of a failure, without what only the environment knows."""

from __future__ import annotations

import os
import re

_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|SAS|SIGNATURE", re.IGNORECASE)
_MIN_CHARACTERS = 4


def without_secrets(exc: BaseException) -> str:
    """Say what went wrong in one line, without the values of secret variables and the queries of addresses."""
    text = " ".join((str(exc) or type(exc).__name__).partition("\n\nDebug source")[0].split())
    for name, value in os.environ.items():
        if len(value) >= _MIN_CHARACTERS and _SECRET.search(name):
            text = text.replace(value, "***")
    return re.sub(r"\?[^\s\"')]+", "?...", text)[:300]
