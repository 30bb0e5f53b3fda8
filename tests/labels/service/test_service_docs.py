"""The commands and the code of docs/service.md are run as they stand, in their order, against a real service."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import end, environment, start, wait_until, warm
from service_server import Served

from standin import Standin, World

DOCS = Path(__file__).resolve().parents[3] / "docs" / "service.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8764"
N_FEATURES = 300


def blocks(*languages: str) -> list[tuple[str, str]]:
    return [found for found in BLOCK.findall(DOCS.read_text(encoding="utf-8")) if found[0] in languages]


def steps() -> list[tuple[str, str]]:
    """Return ("sh", each command) and ("python", each block). Blocks of `shell` are for machines of other people."""
    found = []
    for language, body in blocks("sh", "python"):
        found += [("sh", line) for line in body.splitlines()] if language == "sh" else [(language, body)]
    return found


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    world = World()
    for layer in range(26):
        world.add_source("gemma-2-2b", f"{layer}-gemmascope-res-16k", N_FEATURES)
    with Standin(world, lean=True) as standin:
        yield standin


def test_every_command_and_every_piece_of_python_works(standin: Standin, tmp_path: Path) -> None:
    assert {"serve", "jobs", "download"} <= {text.split()[1] for _, text in steps() if text.startswith("saefetch ")}
    with Served(tmp_path / "sae", standin, num_features=N_FEATURES) as served:
        for language, text in steps():
            text = text.replace(ADDRESS, served.url)
            if text.startswith("saefetch serve"):
                serve(text, tmp_path, standin)
            else:
                out = run(language, text, tmp_path, standin, served.url)
                assert "about:blank" not in out, f"{text}\n{out}"
            wait_until(lambda: {job["state"] for job in served.get("/v1/jobs")["jobs"]} <= {"done"})
        assert len(served.get("/v1/saes")["saes"]) == 7
    assert (tmp_path / "jobs.backup").stat().st_size > 4096


def run(language: str, text: str, cwd: Path, standin: Standin, url: str) -> str:
    env = environment(standin, SAEFETCH_NUM_FEATURES=str(N_FEATURES))
    if language == "sh" and not text.startswith("saefetch "):
        done = subprocess.run(["bash", "-ec", text], cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        return done.stdout
    words = ["-c", text] if language == "python" else shlex.split(text)[1:]
    words += ["--url", url] if words[0] == "jobs" else []
    status, ran = warm().run(*words, cwd=cwd, environment=env)
    assert status == 0, f"{text}\nfailed with {status}:\n{ran.out[-2000:]}{ran.err[-2000:]}"
    return ran.out


def serve(text: str, cwd: Path, standin: Standin) -> None:
    """Start a service of its own as the command says, but on a free port and in a folder of its own; and end it."""
    process = start(cwd, *shlex.split(text)[1:], "--port", "0", "--data-dir", str(cwd / "another"), standin=standin)
    assert process.stderr is not None
    assert "listening on http://" in process.stderr.readline(), text
    process.send_signal(signal.SIGTERM)
    assert end(process).status == 143, text


def test_what_is_shown_is_json_and_yaml_and_every_link_leads_somewhere() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(json.loads(body) for _, body in blocks("json"))
    (scraped,) = (yaml.safe_load(body) for _, body in blocks("yaml"))
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == [ADDRESS.removeprefix("http://")]
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    for link in links:
        assert link[1:] in headings if link.startswith("#") else (DOCS.parent / link).exists(), link
