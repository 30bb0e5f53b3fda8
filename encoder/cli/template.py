"""`sae-encode template`: the face of `encoder.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encoder.engines import kubernetes, skypilot, slurm
from encoder.engines.template import Job
from encoder.errors import InputError

KINDS = {"slurm": slurm.script, "kubernetes": kubernetes.manifest, "skypilot": skypilot.task}


def template(
    kind: str, inputs: list[str], out: str, given: Mapping[str, object], sae_paths: list[str] | None, **how: Any
) -> None:
    """Print the script or manifest; `given` are flags of `run` with their values. Raises: InputError."""
    if kind not in KINDS:
        raise InputError(f"template {kind}: expected one of {', '.join(KINDS)}")
    flags = [word for flag, value in given.items() for word in _words(flag, value)]
    print(KINDS[kind](Job.of(inputs, out, flags, sae_paths or [], **how)), end="")


def _words(flag: str, value: object) -> list[str]:
    """Return the words that give a flag this value; a switch has none."""
    if value is None or value is False:
        return []
    return [flag] if value is True else [flag, str(value)]
