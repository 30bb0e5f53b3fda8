"""Imports point one way, the light things stay light, and the defaults are written down once and truly."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder.options import Options
from saefetch.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "saefetch"
HEAVY = {"torch", "numpy", "scipy", "sae_lens", "pandas", "yaml", "numba", "triton", "encoder", "dashboard"}
# Where one of them may be imported all the same, and then only inside a function.
ALLOWED = {("labels.py", "pandas"), ("names/registry/build.py", "yaml")}


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield every imported top-level name, and whether the import runs when the module is imported."""
    lazy: set[int] = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lazy.update(map(id, ast.walk(node)))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        for name in names:
            yield name.partition(".")[0], id(node) not in lazy


def test_saefetch_imports_nothing_heavy_at_any_level() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 40
    for path in paths:
        where = path.relative_to(PACKAGE).as_posix()
        for name, at_import in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if name in HEAVY:
                assert (where, name) in ALLOWED and not at_import, f"saefetch/{where} imports {name}"


def test_the_check_of_imports_sees_every_way_to_import() -> None:
    source = "import torch.nn\nfrom scipy import sparse\ndef f():\n    import yaml\n    import_module('numpy')"
    assert list(imports(ast.parse(source))) == [("torch", True), ("scipy", True), ("yaml", False), ("numpy", False)]


def test_the_encoder_imports_nothing_of_the_dashboard() -> None:
    paths = sorted((ROOT / "encoder").rglob("*.py"))
    assert len(paths) > 40
    for path in paths:
        names = {name for name, _ in imports(ast.parse(path.read_text(encoding="utf-8")))}
        assert "dashboard" not in names, path


ROOMS = ["arrays", "errors", "hooks", "rows", "shard", "options", "machine", "stores", "file", "index", "readers"]
ROOMS += ["sae", "labelled", "kernels", "queue", "work", "engines", "cli"]
"""The rooms of the encoder: a room imports only rooms that stand before it here."""


SAEFETCH_ROOMS = ["errors", "extras", "files", "terminal", "names", "explanations", "net", "settings"]
"""The first rooms of saefetch, the ground floor below all: each imports only rooms that stand before it here."""


def imports_within(package: str) -> Iterator[tuple[str, str]]:
    """Yield each module of a package with each module of the same package that it imports, functions included."""
    root = ROOT / package
    modules = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in root.rglob("*.py")}
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from ((module, name if name in modules else str(node.module)) for name in names)


def room_of(module: str) -> str:
    return f"{module}.".split(".")[1]


def test_a_room_of_the_encoder_imports_only_rooms_before_it() -> None:
    seen = 0
    for module, imported in imports_within("encoder"):
        own, other = room_of(module), room_of(imported)
        if own in ("", "__init__", "__main__") or own == other:  # the package itself names what it exports
            continue
        assert {own, other} <= {*ROOMS}, f"{module} imports {imported}: give the new room its place in ROOMS"
        assert ROOMS.index(other) < ROOMS.index(own), f"{module} imports {imported}, whose room stands after its own"
        seen += 1
    assert seen > 100


def test_the_ground_floor_imports_nothing_from_above() -> None:
    seen = set()
    for module, imported in imports_within("saefetch"):
        own, other = room_of(module), room_of(imported)
        if own not in SAEFETCH_ROOMS or own == other or other in ("", "__version__"):
            continue
        seen.add(own)
        is_below = other in SAEFETCH_ROOMS and SAEFETCH_ROOMS.index(other) < SAEFETCH_ROOMS.index(own)
        assert is_below, f"{module} imports {imported}, which stands above it"
    assert {"terminal", "names", "settings"} <= seen


def test_the_kernels_of_cpu_and_gpu_import_nothing_of_each_other() -> None:
    pairs = {
        tuple(name.split(".")[2] for name in pair)
        for pair in imports_within("encoder")
        if "kernels" in pair[0] and all(name.count(".") > 2 for name in pair)
    }
    assert {("cpu", "cpu"), ("gpu", "gpu")} <= pairs and not pairs & {("cpu", "gpu"), ("gpu", "cpu")}


def test_the_dashboard_imports_no_torch_at_any_level() -> None:
    paths = sorted((ROOT / "dashboard").rglob("*.py"))
    assert len(paths) > 20
    for path in paths:
        names = {name for name, _ in imports(ast.parse(path.read_text(encoding="utf-8")))}
        assert not names & {"torch", "numba", "triton", "sae_lens", "pandas"}, path
    modules = modules_after("import dashboard.cli.run, encoder.queue.queue")
    assert "aiohttp" in modules and not modules & {"torch", "numba", "triton", "sae_lens", "tokenizers"}


DASHBOARD_ROOMS = (
    ["errors"],
    ["model", "figures"],
    ["views"],
    ["page"],
    ["exported"],
    ["server", "export"],
    ["cli"],
    ["__main__"],
)
"""The rooms of the dashboard, each row below the next: a room imports from rows before its own, and from itself."""


def test_the_rooms_of_the_dashboard_import_one_way() -> None:
    row_of = {room: row for row, rooms in enumerate(DASHBOARD_ROOMS) for room in rooms}
    paths = sorted(path for path in (ROOT / "dashboard").rglob("*.py") if path != ROOT / "dashboard" / "__init__.py")
    seen = set()
    for path in paths:
        room = path.relative_to(ROOT / "dashboard").parts[0].removesuffix(".py")
        seen.add(room)
        for name in re.findall(r"^\s*(?:from|import) dashboard\.(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name == room or row_of[name] < row_of[room], f"{path} imports dashboard.{name}"
    assert seen == set(row_of), "every room has its row"


@pytest.mark.parametrize(
    "module", ["file.folder, encoder.index, encoder.labelled", "cli.queue, encoder.cli.run, encoder.sae.known"]
)
def test_features_and_queues_are_read_without_torch(module: str) -> None:
    assert not modules_after(f"import encoder.{module}") & {"torch", "sae_lens", "numba", "triton"}


def test_the_index_is_made_without_torch() -> None:
    code = "import encoder.cli.index, encoder.index.build"
    assert not modules_after(code) & {"torch", "sae_lens", "triton"}


def test_the_standin_knows_nothing_of_the_rest() -> None:
    for path in (ROOT / "standin").rglob("*.py"):
        found = set(re.findall(r"^\s*(?:from|import) (saefetch\.?\w*)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert found <= {"standin"}, path


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, file=sys.__stderr__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stderr.split())


HELP = "import {0}.cli\nsys.argv[1:] = {1!r}\ntry: {0}.cli.main()\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        *((package, words) for package in ("saefetch", "encoder") for words in (["--help"], ["status", "--help"])),
        ("saefetch", ["status", "-h"]),
        ("dashboard", ["--help"]),
        ("dashboard", ["-h"]),
    ],
)
def test_help_imports_nothing_that_it_does_not_need(package: str, words: list[str]) -> None:
    modules = modules_after(HELP.format(package, words))
    assert "typer" in modules
    heavy = {"aiohttp", "pydantic", "numpy", "torch", "rich.progress", "rich.live", "asyncio", "sqlite3", "orjson"}
    assert not modules & heavy


def test_reading_commands_do_without_the_network() -> None:
    modules = modules_after("import saefetch.cli.read, saefetch.cli.inspect, saefetch.cli.listing")
    assert "saefetch.settings" in modules
    assert not modules & {"aiohttp", "saefetch.net.transport", "rich.progress"}


def test_the_package_itself_is_light_to_import() -> None:
    assert not {name for name in modules_after("import saefetch") if name.startswith("saefetch.")}
    assert not {name for name in modules_after("import encoder") if name.startswith(("encoder.", "saefetch"))}
    assert not modules_after("import dashboard") & {"encoder", "saefetch", "numpy", "aiohttp"}


@pytest.mark.parametrize(
    "command", [["saefetch"], ["saefetch", "download"], ["encoder"], ["encoder", "run"], ["dashboard"]]
)
def test_help_answers_in_under_0_3_s(command: list[str]) -> None:
    took = []
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-m", *command, "--help"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        took.append(used.ru_utime + used.ru_stime)  # it does nothing but compute, so this is its time if left alone
    assert min(took) < 0.3


def test_the_toml_file_holds_the_built_in_values() -> None:
    text = (ROOT / "config" / "saefetch.toml").read_text(encoding="utf-8")
    written = tomllib.loads(text)
    for name, field in Settings.model_fields.items():
        if field.default is None:  # TOML has no null
            assert name not in written
        else:
            assert Settings.model_validate({name: written[name]}).__dict__[name] == field.default, name
    assert list(written) == [name for name in Settings.model_fields if name in written], "in the order of the class"


def test_the_encoders_toml_file_holds_the_built_in_values() -> None:
    written = tomllib.loads((ROOT / "config" / "encoder.toml").read_text(encoding="utf-8"))
    built_in = {name: value for name, value in Options().model_dump().items() if value is not None}  # TOML has no null
    assert written == built_in
    assert list(written) == list(built_in), "in the order of the class"


def test_the_default_sae_is_the_same_for_labels_and_features() -> None:
    assert (Options().sae_release, Options().sae_id) == (Settings().sae_release, Settings().sae_id)
