"""What the real Neuronpedia answered: a cut of a recording, whose answers are whole and unchanged byte for byte.

A line of `tests/recorded/answers.jsonl` is an exchange: `name`, `request`, `request_body`, `status`, `headers`, `body`.
The server's own code answered; the data behind it is made up. In bodies marked `body_trimmed` the recording has one
activation a feature, or an HTML page's beginning. The answers whose names begin with `limit_` are the rate limiter's,
recorded without their requests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).parents[1] / "recorded" / "answers.jsonl"
ANSWERS: dict[str, dict[str, Any]] = {
    answer["name"]: answer for answer in map(json.loads, RECORDING.read_bytes().splitlines())
}
