"""A reader of another package is found by its entry point, asked first, and believed as little as a file is."""

from __future__ import annotations

import importlib
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Site
from shards import open_one, random, whole

from encoder.errors import InputError, ShardError
from encoder.readers import find_inputs, installed

DOCS = Path(__file__).parents[2] / "docs" / "readers.md"
ROWS = random((9, 8), torch.float32)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path of modules, as site-packages is one."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    installed.installed.cache_clear()


def install(packages: Path, name: str, source: str) -> None:
    """Lay a package there as pip would: its module, and a dist-info with the entry point."""
    module = name.replace("-", "_")
    (packages / module).mkdir()
    (packages / module / "__init__.py").touch()
    (packages / module / "reader.py").write_text(source)
    info = packages / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[saefetch.readers]\nacts = {module}.reader\n")
    importlib.invalidate_caches()
    installed.installed.cache_clear()


def example() -> str:
    """Return the reader that the docs show."""
    (source,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return str(source)


def acts(path: Path, rows: torch.Tensor = ROWS) -> Path:
    path.write_bytes(b"ACTS" + struct.pack("<2I", *rows.shape) + rows.numpy().tobytes())
    return path


def test_the_example_of_the_docs_reads_its_files_once_it_is_installed(
    tmp_path: Path, packages: Path, encode: Command
) -> None:
    site = Site(tmp_path)
    rows = encoding.planted(40, site.weights)
    path = acts(site.acts / "a.acts", rows)
    np.save(site.acts / "plain.npy", rows.numpy())
    unread: list[Path] = []
    assert find_inputs(site.acts, unread=unread.append) == [site.acts / "plain.npy"] and unread == [path]
    with pytest.raises(ShardError, match="no reader knows"):
        open_one(path, 48)
    install(packages, "acts-format", example())
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet")
    assert encode(*run).status == 0
    features = encoding.read(site.out / "a.npz")
    assert (features != encoding.read(site.out / "plain.npz")).nnz == 0 < features.nnz
    assert "read by ACTS files (acts-format 1.2)" in encoding.meta(site.out / "a.npz")["notes"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ShardError, match="40 rows of 48 do not fill"):
        open_one(path, 48)


def test_it_is_asked_before_the_readers_that_are_here(tmp_path: Path, packages: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    source = example().replace('b"ACTS"', 'b"\\x93NUMPY"').replace("n_rows, d_in = (", "n_rows, d_in = 3, 8; (")
    source = source.replace("if source.size != HEADER", "if False and source.size != HEADER")
    install(packages, "mine", source)
    assert open_one(tmp_path / "a.npy", 8).n_rows == 3


def test_a_folder_of_its_own_is_listed_by_it(tmp_path: Path, packages: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("b.part", "a.part", "c.npy"):
        acts(folder / name)
    listing = "def data_files(folder):\n    return sorted(folder.glob('*.part'), reverse=True) or None\n"
    install(packages, "acts-format", example() + listing)
    unread: list[Path] = []
    assert find_inputs(tmp_path / "store", unread=unread.append) == [folder / "b.part", folder / "a.part"]
    assert unread == [folder / "c.npy"]


READ = "return torch.from_numpy(rows.reshape(stop - start, d_in))"
SHARD = 'return Shard(source.path, n_rows, d_in, "float32", read)'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (READ, "return torch.from_numpy(rows.reshape(stop - start, d_in))[:-1]", r"gave rows torch.float32\[8, 8\]"),
        (READ, "return torch.from_numpy(rows.reshape(stop - start, d_in)).double()", "gave rows torch.float64"),
        (READ, "return rows.reshape(stop - start, d_in)", "gave rows float32"),
        (READ, "return None", "gave rows NoneType"),
        (READ, "raise KeyError('x\\ny')", "failed: KeyError: 'x"),
        (SHARD, "return None", "gave None, expected a Shard"),
        (SHARD, 'return Shard(source.path, -1, d_in, "float32", read)', "expected a Shard"),
        (SHARD, 'return Shard(source.path, n_rows, d_in, "int8", read)', "expected a Shard"),
        (SHARD, "return 1 / 0", "failed: ZeroDivisionError"),
        (SHARD, "raise ShardError('mine')", "mine"),
        (
            SHARD,
            "import encoder.readers as r; t = lambda: r.Tokens(token_ids=np.zeros(3, np.int64))\n"
            '    return Shard(source.path, n_rows, d_in, "float32", read, t)',
            "gave 3 token_ids for 9 rows",
        ),
        ('return source.head.startswith(b"ACTS")', "return source.nothing", "failed: AttributeError"),
    ],
)
def test_what_it_does_wrong_fails_the_one_file_in_one_line(
    tmp_path: Path, packages: Path, old: str, new: str, message: str
) -> None:
    assert old in example()
    install(packages, "acts-format", example().replace(old, new))
    path = acts(tmp_path / "a.acts")
    with pytest.raises(ShardError, match=message) as caught:
        shard = open_one(path, 8)
        whole(shard)
        shard.tokens()
    assert "\n" not in str(caught.value)
    assert old == READ or "acts-format 1.2" in str(caught.value) or message == "mine"


def test_one_that_cannot_be_loaded_stops_the_run_with_its_name(tmp_path: Path, packages: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    install(packages, "broken", "import nothing_of_this_name\n")
    with pytest.raises(InputError, match=r"reader 'acts' of the package broken 1\.2 cannot be loaded: ModuleNotFound"):
        find_inputs(tmp_path)
    (packages / "broken" / "reader.py").write_text("NAME = 'half'\n")
    sys.modules.pop("broken.reader", None)
    importlib.invalidate_caches()
    installed.installed.cache_clear()
    with pytest.raises(InputError, match="has no claims and no open_shard"):
        find_inputs(tmp_path)


def test_a_file_that_two_claim_is_refused(tmp_path: Path, packages: Path) -> None:
    install(packages, "acts-format", example())
    install(packages, "also-acts", example())
    with pytest.raises(ShardError, match=r"claimed by ACTS files \(acts-format 1\.2\) and|claimed by .*also-acts"):
        open_one(acts(tmp_path / "a.acts"), 8)


def test_without_packages_nothing_is_there() -> None:
    installed.installed.cache_clear()
    assert installed.installed() == ()
