"""`sae-encode template`: the face of `encoder.engines`."""

from __future__ import annotations

from encoder.engines import kubernetes, skypilot, slurm
from encoder.engines.template import Job
from encoder.errors import InputError

KINDS = {"slurm": slurm.script, "kubernetes": kubernetes.manifest, "skypilot": skypilot.task}


def template(kind: str, job: Job) -> None:
    """Print the script or manifest. Raises: InputError."""
    if kind not in KINDS:
        raise InputError(f"template {kind}: expected one of {', '.join(KINDS)}")
    print(KINDS[kind](job), end="")
