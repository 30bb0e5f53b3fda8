"""An array of tasks for Slurm."""

from __future__ import annotations

import shlex

from encoder.engines.template import Job


def script(job: Job) -> str:
    """Return a script for `sbatch`."""
    lines = [
        "#!/bin/bash",
        "# Start it with: sbatch FILE. Start it again to do what is missing: finished shards are not done twice.",
        "# Each task takes every N-th shard. More tasks than machines is well: a task that is lost costs less.",
        "#SBATCH --job-name=sae-encode",
        f"#SBATCH --array=1-{job.workers}  # %8 at the end: at most 8 at a time. The numbers begin at 1",
        f"#SBATCH --time={job.time}",
        *([f"#SBATCH --gpus={job.n_gpus}  # a task"] if job.n_gpus else []),
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=32G",
        "#SBATCH --requeue  # a task whose node is lost begins again, with what is missing",
        "#SBATCH --output=sae-encode-%A_%a.log",
        "# Change: #SBATCH --partition=..., --account=..., as your cluster has them.",
        "set -euo pipefail",
        "",
        "# Where sae-encode is: change this to how your cluster has it.",
        "# module load python/3.11; source ~/venv/bin/activate",
        "",
        "# Credentials of a store come from the environment, such as AWS_ACCESS_KEY_ID; none is written here.",
    ]
    if job.env_file:
        lines += ["set -a", f"source {shlex.quote(job.env_file)}", "set +a"]
    command = job.command("${SLURM_ARRAY_TASK_ID}")
    if job.image:
        gpu = " --nv" if job.n_gpus else ""
        bind = f" --bind {shlex.quote(job.folder)}" if job.folder else ""
        command = f"apptainer exec{gpu}{bind} {shlex.quote('docker://' + job.image)} {command}"
    return "\n".join([*lines, "", f"exec {command}", ""])
