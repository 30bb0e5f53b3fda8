"""`pip install saefetch`, without extras: the wheel that we would publish, in an environment of its own.

The environment gets the wheel by pip, and the libraries that the wheel's metadata asks for as links to those that the
tests run with. So it is made in seconds, without a network; and a library that the metadata forgets is not there.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from importlib.metadata import distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import RELEASE, SAE_ID, environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import encoder
from encoder.cli.app import app as encode_app
from saefetch.extras import LIBRARIES
from standin import Standin, World

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("saefetch", "encoder", "dashboard")
LIMIT_BYTES = 2_000_000
"""Of the wheel, as it is downloaded."""
# Every command of sae-encode, as little of it as typer takes. Those of the first table need no extra.
LIGHT = {
    "status": ["--queue", "queue"],
    "retry": ["--queue", "queue"],
    "template": ["slurm", "acts", "--out", "out"],
}
HEAVY = {
    "run": ["acts", "--out", "out"],
    "submit": ["acts", "--queue", "queue"],
    "work": ["--queue", "queue"],
    "stats": ["features"],
    "index": ["features"],
    "info": [],
}
PUBLIC = """
import json, encoder, saefetch, dashboard
found = {}
for name in encoder.__all__:
    try:
        getattr(encoder, name)
        found[name] = None
    except ImportError as exc:
        assert isinstance(exc, saefetch.MissingExtraError) and isinstance(exc, saefetch.UsageError)
        found[name] = str(exc)
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "wheel"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(shared.glob("*.whl")):
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--no-index", "--no-build-isolation", "--wheel-dir", shared, ROOT], check=True)
    (built,) = shared.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def bin_(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of an environment that has the wheel and no extra."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    for top in sorted(set(needed_by(wheel))):
        (site / top.name).symlink_to(top)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(home / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel], check=True)
    return home / "bin"


def needed_by(wheel: Path, extra: str = "") -> Iterator[Path]:
    """Yield what lies in site-packages of the libraries that the wheel needs, without extras or with one."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        wanted = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    seen: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or not (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
            continue
        seen.add(name)
        found = distribution(name)
        wanted += found.requires or []
        tops = {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        yield from (Path(str(found.locate_file(top))) for top in tops)


def test_each_extra_brings_the_libraries_whose_absence_it_is_named_for(wheel: Path) -> None:
    of_module = packages_distributions()
    for extra, modules in LIBRARIES.items():
        if extra == "ray" and not find_spec("ray"):
            continue  # `make test-scale` installs it
        brought = {canonicalize_name(path.name.split("-")[0]) for path in needed_by(wheel, extra)}
        for module in modules:
            assert {canonicalize_name(name) for name in of_module[module]} & brought, f"[{extra}] brings no {module}"


def run(bin_: Path, cwd: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in environment(None).items() if name != "PYTHONPATH"}
    return subprocess.run(
        [bin_ / words[0], *words[1:]], cwd=cwd, env=clean | variables, capture_output=True, text=True, timeout=60
    )


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        infos = archive.infolist()
    files = {info.filename for info in infos}
    assert {name.split("/")[0] for name in files} == {*PACKAGES, f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    there = {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}
    assert not there - files, "a file of the packages is missing"
    assert {
        "saefetch/names/registry/table.tsv",
        "dashboard/web/index.html",
        "encoder/py.typed",
        "saefetch/py.typed",
    } <= files
    assert wheel.stat().st_size < LIMIT_BYTES


def test_labels_are_downloaded_searched_and_verified_without_extras(bin_: Path, tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 300)
    with Standin(world) as standin:
        urls = {"SAEFETCH_API_URL": standin.api_url, "SAEFETCH_EXPORT_URL": standin.export_url}
        done = run(bin_, tmp_path, "saefetch", "download", "--num-features", "300", "--json", **urls)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["successful"] + summary["missing"] == 300
    for words in (["verify"], ["status"], ["show", "7"], ["list", "16k"], ["search", "zzz"]):
        done = run(bin_, tmp_path, "saefetch", *words)
        assert done.returncode == 0 and not done.stderr.startswith("saefetch:"), done.stderr
    done = run(bin_, tmp_path, "python", "-c", f"""
import saefetch
labels = saefetch.open_labels("sae", {RELEASE!r}, {SAE_ID!r})
assert len(labels) == 300
try: labels.to_pandas()
except saefetch.MissingExtraError as exc: print(exc)
""")  # fmt: skip
    assert done.stdout == "Labels.to_pandas needs pandas: pip install 'saefetch[pandas]'\n", done.stderr


def test_these_are_all_commands() -> None:
    names = {info.name or info.callback.__name__ for info in encode_app.registered_commands if info.callback}
    assert names == set(LIGHT) | set(HEAVY)


@pytest.mark.parametrize("command", HEAVY)
def test_a_command_that_needs_an_extra_says_so_in_one_line(command: str, bin_: Path, tmp_path: Path) -> None:
    (tmp_path / "acts").mkdir()
    done = run(bin_, tmp_path, "sae-encode", command, *HEAVY[command])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sae-encode: sae-encode needs ")
    assert done.stderr.endswith(": pip install 'saefetch[encode]'\n") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["acts"], "nothing is left behind"
    assert run(bin_, tmp_path, "sae-encode", command, "--help").returncode == 0


def test_a_queue_is_looked_at_and_failed_jobs_are_put_back_without_extras(bin_: Path, tmp_path: Path) -> None:
    for state in ("ready", "claimed", "done", "failed"):
        (tmp_path / "queue" / state).mkdir(parents=True)
    done = run(bin_, tmp_path, "sae-encode", "status", *LIGHT["status"], "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ready"] == [], done.stderr
    done = run(bin_, tmp_path, "sae-encode", "retry", *LIGHT["retry"])
    assert done.returncode == 0 and "0 jobs are ready again" in done.stdout, done.stderr
    done = run(bin_, tmp_path, "sae-encode", "template", *LIGHT["template"])
    assert done.returncode == 0 and "#SBATCH --array=1-8" in done.stdout, done.stderr


@pytest.mark.parametrize("words", [[], ["--static", "out"]])
def test_the_dashboard_says_in_one_line_what_it_needs(words: list[str], bin_: Path, tmp_path: Path) -> None:
    done = run(bin_, tmp_path, "sae-dashboard", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sae-dashboard: sae-dashboard needs numpy: pip install 'saefetch[dashboard]'\n"
    assert run(bin_, tmp_path, "sae-dashboard", "--help").returncode == 0


def test_every_public_name_of_the_encoder_is_there_or_names_its_extra(bin_: Path, tmp_path: Path) -> None:
    done = run(bin_, tmp_path, "python", "-c", PUBLIC)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(encoder.__all__)
    for name, message in found.items():
        if name.endswith("Error"):
            assert message is None, "errors can be caught without extras"
        elif message is not None:
            assert message.startswith(f"encoder.{name} needs ") and message.endswith(": pip install 'saefetch[encode]'")
    assert {"encode", "load_sae", "open_features"} <= {name for name, message in found.items() if message}


def test_a_library_that_no_extra_brings_is_a_bug(bin_: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['orjson'] = None; sys.argv = ['saefetch', 'list', '--json', '16k']\n"
    done = run(bin_, tmp_path, "python", "-c", f"{code}from saefetch.cli import main; main()")
    assert done.returncode == 1 and "this is a bug of saefetch (ModuleNotFoundError)" in done.stderr


def interpreter(version: str) -> str | None:
    """Return a Python of this version; what pyenv puts on PATH may be a command that only says that it is none."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(str(path) for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    works = (
        path for path in candidates if path and not subprocess.run([path, "-c", ""], capture_output=True).returncode
    )
    return next(works, None)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_a_newer_python_installs_it_from_the_registry_and_downloads_labels(
    version: str, wheel: Path, tmp_path: Path
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
    subprocess.run([tmp_path / "env" / "bin" / "pip", "install", "--quiet", wheel], check=True)
    (tmp_path / "here").mkdir()
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 300)
    with Standin(world) as standin:
        urls = {"SAEFETCH_API_URL": standin.api_url, "SAEFETCH_EXPORT_URL": standin.export_url}
        words = ("saefetch", "download", "--num-features", "300", "--json")
        done = run(tmp_path / "env" / "bin", tmp_path / "here", *words, **urls)
    assert done.returncode == 0 and json.loads(done.stdout)["failed"] == 0, done.stderr
    done = run(tmp_path / "env" / "bin", tmp_path / "here", "sae-encode", "run", ".", "--out", "out")
    assert done.returncode == 2 and "pip install 'saefetch[encode]'" in done.stderr


TOOLS = [
    "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "psutil", "requests", "pyyaml", "pandas", "nbclient",
    "ipykernel", "nbformat",
]  # fmt: skip
"""What the labels' tests import beside the package."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_labels_tests_pass_on_a_newer_python(version: str, wheel: Path, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
    pinned = ("--constraint", ROOT / "constraints.txt")
    subprocess.run([tmp_path / "env" / "bin" / "pip", "install", "--quiet", *pinned, wheel, *TOOLS], check=True)
    options = ("-q", "-n", "2", "--dist", "worksteal", "-m", "not slow", "-o", "addopts=")
    command = [tmp_path / "env" / "bin" / "python", "-m", "pytest", *options, "tests/labels"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
