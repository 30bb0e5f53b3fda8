"""What runs the service for good: the unit for systemd, the recipe for a container. Both name what is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UNIT, RECIPE = ROOT / "packaging" / "saefetch.service", ROOT / "packaging" / "Containerfile"
EXPOSURE = 15
"""In tenths of a point, of 100: a service that talks to the internet cannot go much below 10."""
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
KNOWN |= {"ENTRYPOINT", "CMD"}


def settings(text: str) -> dict[str, list[str]]:
    """Return the values of each key of a unit."""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a recipe with its words: https://docs.docker.com/reference/dockerfile/"""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, words = line.partition(" ")
            yield name, words.strip()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_finds_no_fault_in_the_unit_and_little_exposed() -> None:
    verified = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", UNIT]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_unit_takes_secrets_as_credentials_and_knows_how_the_service_ends() -> None:
    unit = settings(UNIT.read_text(encoding="utf-8"))
    (command,) = unit["ExecStart"]
    credentials = dict(value.split(":") for value in unit["LoadCredential"])
    assert set(credentials) == {"token", "neuronpedia-api-key"} == set(re.findall(r"%d/([\w-]+)", command))
    assert not {"Environment", "EnvironmentFile", "User"} & set(unit)
    for key in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "MemoryDenyWriteExecute", "RestrictNamespaces"):
        assert unit[key] == ["yes"], key
    assert unit["ProtectSystem"] == ["strict"] and unit["StateDirectory"] == ["saefetch"]
    assert "--data-dir %S/saefetch" in command
    # Within 10 s of SIGTERM it ends with 143; what a restart cannot mend is not started again.
    assert unit["SuccessExitStatus"] == ["143"] and int(unit["TimeoutStopSec"][0]) > 10
    assert unit["Restart"] == ["on-failure"] and unit["RestartPreventExitStatus"] == ["2 4"]


def test_none_of_it_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["saefetch", "encoder", "dashboard"]


def test_the_recipe_is_of_two_stages_and_copies_only_what_is_there() -> None:
    steps = list(instructions(RECIPE.read_text(encoding="utf-8")))
    assert {name for name, _ in steps} <= KNOWN
    starts = [at for at, (name, _) in enumerate(steps) if name == "FROM"]
    assert len(starts) == 2 and starts[0] == 0
    for name, words in steps[: starts[1]]:
        if name == "COPY":
            *sources, _ = words.split()
            for source in sources:
                assert (ROOT / source).exists(), source
    built = {path for name, words in steps[: starts[1]] if name == "COPY" for path in words.split()[:-1]}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "saefetch", "encoder", "dashboard"} == built
    copies = [words for name, words in steps[starts[1] :] if name == "COPY"]
    assert copies == ["--from=build /opt/saefetch /opt/saefetch"], "nothing of the first stage but the environment"


def test_the_container_runs_without_root_and_without_secrets() -> None:
    text = RECIPE.read_text(encoding="utf-8")
    steps = list(instructions(text))
    last = dict(steps)
    assert last["USER"].isdigit() and last["USER"] != "0"
    assert [name for name, _ in steps].index("USER") < [name for name, _ in steps].index("ENTRYPOINT")
    assert not any(name in ("ARG", "ADD") for name, _ in steps) and "API_KEY" not in text
    assert "/healthz" in last["HEALTHCHECK"] and last["EXPOSE"] in last["HEALTHCHECK"]
    words = shlex.split(last["ENTRYPOINT"].strip("[]").replace(",", " "))
    assert words[:2] == ["saefetch", "serve"] and "--token-file" in words, "other machines reach it"
    assert words[words.index("--data-dir") + 1] == last["VOLUME"] == last["WORKDIR"]
