"""The scripts for clusters: a shell parses them, each task gets its own part, and the manifests are valid."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from encoding import Command

from encoder.engines import kubernetes, skypilot, slurm
from encoder.engines.template import Job
from encoder.errors import InputError

ODD = '/data/it\'s $(HOME) `x`; "y" # z'


def job(*inputs: str, **settings: Any) -> Job:
    return Job.of(inputs or ("s3://bucket/acts",), settings.pop("out", "s3://bucket/features"), (), **settings)


def ran(script: str, tmp_path: Path, **variables: str) -> list[str]:
    """Run a script with a sae-encode that says what it was called with; return its words."""
    for name in ("sae-encode", "timeout", "apptainer", "python"):
        fake = tmp_path / name
        fake.write_text('#!/bin/sh\nfor word in "$0" "$@"; do printf "%s\\n" "$word"; done\n')
        fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
    command = ["bash", "-c", script]
    subprocess.run(["bash", "-n", "-c", script], check=True)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def container(text: str) -> dict[str, Any]:
    (only,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_each_task_of_slurm_gets_the_part_of_its_number(tmp_path: Path) -> None:
    text = slurm.script(job(ODD, workers=32, time="1-02:00:00", gpus="2", out="/data/out"))
    assert text.startswith("#!/bin/bash\n") and "#SBATCH --array=1-32 " in text and "#SBATCH --gpus=2 " in text
    assert "#SBATCH --time=1-02:00:00\n" in text
    words = ran(text, tmp_path, SLURM_ARRAY_TASK_ID="7")
    assert words[1:] == ["run", ODD, "--out", "/data/out", "--part", "7/32"]
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert text.index(directives[-1]) < text.index(commands[0]), "Slurm reads directives up to the first command"


def test_slurm_takes_credentials_from_the_file_and_the_program_from_the_image(tmp_path: Path) -> None:
    env_file = tmp_path / "an env"
    env_file.write_text("PART=5\n")
    text = slurm.script(job(env_file=str(env_file), image="registry/image:1", gpus="0"))
    assert f"source {shlex.quote(str(env_file))}" in text and "--gpus" not in text and "--nv" not in text
    words = ran(text, tmp_path, SLURM_ARRAY_TASK_ID="1")
    assert words[1:4] == ["exec", "docker://registry/image:1", "sae-encode"] and words[-1] == "1/8"


def test_each_index_of_kubernetes_is_a_part_from_one(tmp_path: Path) -> None:
    text = kubernetes.manifest(job(ODD, workers=4, image="registry/image:1", out="/data/out"))
    only = container(text)
    (script,) = only["args"]
    assert "$$(HOME)" in script and "$(HOME)" not in script.replace("$$(HOME)", ""), "or it is a variable of the pod"
    words = ran(script.replace("$$(", "$("), tmp_path, JOB_COMPLETION_INDEX="0")  # as Kubernetes does
    assert words[1:] == ["run", ODD, "--out", "/data/out", "--part", "1/4"]
    assert ran(script, tmp_path, JOB_COMPLETION_INDEX="3")[-1] == "4/4"
    assert only["volumeMounts"] == [{"name": "data", "mountPath": "/data"}] and "pip install" not in text
    assert "kubectl create secret generic sae-encode-credentials --from-env-file=FILE" in text


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 1}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
CONTAINER = closed(
    name=TEXT,
    image=TEXT,
    envFrom={"type": "array", "items": closed(secretRef=closed(name=TEXT, optional={"type": "boolean"}))},
    command={"type": "array", "items": TEXT},
    args={"type": "array", "items": TEXT},
    resources=closed(requests=QUANTITIES, limits=QUANTITIES),
)
JOB = closed(
    apiVersion={"const": "batch/v1"},
    kind={"const": "Job"},
    metadata=closed(name=TEXT),
    spec=closed(
        completionMode={"const": "Indexed"},
        completions=COUNT,
        parallelism=COUNT,
        backoffLimitPerIndex=COUNT,
        template=closed(
            spec=closed(
                restartPolicy={"const": "Never"},
                activeDeadlineSeconds=COUNT,
                containers={"type": "array", "items": CONTAINER},
            )
        ),
    ),
)
"""The fields of batch/v1 Job that are used, with the types that Kubernetes' API gives them."""


def test_the_manifest_has_fields_and_types_of_the_api() -> None:
    text = kubernetes.manifest(job(gpus="2", time="01:00:30"))
    document = yaml.safe_load(text)
    jsonschema.validate(document, JOB)
    assert document["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 3630
    assert container(text)["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert "nvidia" not in kubernetes.manifest(job(gpus="0")) and "pip install" in text


def test_each_node_of_skypilot_is_a_part_from_one(tmp_path: Path) -> None:
    document = yaml.safe_load(skypilot.task(job(workers=3, gpus="H100:2", time="00:10:00", env_file="my env")))
    assert (document["num_nodes"], document["resources"]["accelerators"]) == (3, "H100:2")
    words = ran(document["run"], tmp_path, SKYPILOT_NODE_RANK="2")
    assert words[1:4] == ["600", "sae-encode", "run"] and words[-1] == "3/3"
    assert "pip install" in document["setup"] and "--env-file 'my env'" in skypilot.task(job(env_file="my env"))
    bare = yaml.safe_load(skypilot.task(job(gpus="0", image="registry/image:1")))
    assert "accelerators" not in bare["resources"] and bare["resources"]["image_id"] == "docker:registry/image:1"
    assert "setup" not in bare


def test_relative_paths_are_made_absolute_and_flags_are_handed_on(tmp_path: Path, encode: Command) -> None:
    flags = ("--sae-path", "params.npz", "--values", "float16", "--exclude-first", 1, "--strict")
    ended = encode("template", "slurm", "acts", "--out", "features", *flags)
    at = tmp_path.resolve()
    assert ended.status == 0 and ended.out.splitlines()[-1] == (
        f"exec sae-encode run {at}/acts --out {at}/features --sae-path {at}/params.npz --values float16"
        ' --exclude-first 1 --strict --part "${SLURM_ARRAY_TASK_ID}/8"'
    )
    encode("template", "pbs", "acts", "--out", "x").refused("expected one of slurm, kubernetes, skypilot")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "--workers 0"),
        ({"time": "1 day"}, "--time 1 day: expected HH:MM:SS"),
        ({"gpus": "many"}, "--gpus many"),
        ({"image": "a\nb"}, "cannot have this word"),
        ({"out": "ftp://x/y"}, "download it"),
    ],
)
def test_what_no_script_can_be_made_of_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        job(**settings)
