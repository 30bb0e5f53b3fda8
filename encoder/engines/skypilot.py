"""A task of several nodes for SkyPilot."""

from __future__ import annotations

import json
import shlex

from encoder.engines.template import INSTALL, Job


def task(job: Job) -> str:
    """Return a task for `sky jobs launch`."""
    kind = job.gpus.rpartition(":")[0] or "A100"
    gpu = f"\n  accelerators: {kind}:{job.n_gpus}  # change: the kind of GPU" if job.n_gpus else ""
    image = f"\n  image_id: {json.dumps('docker:' + job.image)}" if job.image else ""
    env_file = f" --env-file {shlex.quote(job.env_file)}" if job.env_file else " --env-file FILE"
    setup = "" if job.image else f"\nsetup: |\n  {INSTALL}\n"
    local = f"# Change: {job.folder} has to be there on each node; see file_mounts in SkyPilot.\n" if job.folder else ""
    return f"""\
# Start it with: sky jobs launch{env_file} FILE.yaml. Start it again to do what is missing: finished shards are not done
# twice, so spot machines will do.
# Credentials of a store come from the environment, such as AWS_ACCESS_KEY_ID in the file; none is written here.
{local}name: sae-encode
num_nodes: {job.workers}
resources:
  use_spot: true
  cpus: 8+
  memory: 32+{gpu}{image}
{setup}
run: |
  set -eu
  part=$((SKYPILOT_NODE_RANK + 1))  # ranks begin at 0, parts at 1
  exec timeout {job.seconds} {job.command("${part}")}
"""
