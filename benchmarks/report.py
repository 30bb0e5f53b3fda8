"""The machine, the table, and the two files that a run of the benchmarks leaves in `results/`.

`<kind>-<machine>.md` is for the repository. `<kind>-<machine>.json` has every number: git ignores it, and other
benchmarks on the same machine read it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sqlite3
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from encoder.machine.processor import cpu_model

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("aiohttp", "isal", "msgspec", "orjson", "requests", "saefetch")


@dataclass(slots=True)
class Row:
    """One line of the table. Times are medians over `rounds`; None is printed as an empty cell."""

    what: str
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None
    requests: int | None = None
    megabytes: float | None = None
    rounds: int = 1
    note: str = ""


@dataclass(slots=True)
class Aim:
    """One promise and what was measured. `met` says whether it holds on this machine, in this run."""

    what: str
    aim: str
    measured: str
    met: bool


@dataclass(slots=True)
class Report:
    """Everything measured so far."""

    rows: list[Row] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)

    def add(self, row: Row) -> Row:
        self.rows.append(row)
        print(_line(row), file=sys.stderr, flush=True)
        return row

    def promise(self, what: str, aim: str, measured: str, met: bool) -> None:
        self.aims.append(Aim(what, aim, measured, met))

    def markdown(self) -> str:
        lines = head("Labels", describe_machine())
        lines += ["", _line(None), "|---|" + "---:|" * 6 + "---|", *map(_line, self.rows)]
        lines += ["", *promises(self.aims)]
        return "\n".join(lines) + "\n"

    def write(self) -> list[Path]:
        """Write `labels-<machine>.json` and `.md`; return their paths."""
        document = {"rows": [asdict(row) for row in self.rows], "aims": [asdict(aim) for aim in self.aims]}
        return write_results("labels", describe_machine(), document, self.markdown())


def head(title: str, machine: dict[str, str]) -> list[str]:
    """Return the first lines of a table of results: what was measured, and on which machine."""
    lines = [f"# {title} on {machine['cpu']}, {machine['cores']} cores", ""]
    return [*lines, *(f"- {name}: {value}" for name, value in machine.items())]


def promises(aims: list[Aim]) -> list[str]:
    """Return the table of what is promised."""
    rows = [f"| {a.what} | {a.aim} | {a.measured} | {'met' if a.met else 'MISSED'} |" for a in aims]
    return ["| promise | aim | measured | |", "|---|---|---|---|", *rows]


def publish(kind: str, machine: dict[str, str], document: dict[str, Any], lines: list[str], *, quick: bool) -> None:
    """Print the results and write them to `results/`, but for those of a quick run, which say little."""
    markdown = "\n".join(lines) + "\n"
    print(markdown)
    if not quick:
        print("\n".join(f"written: {path}" for path in write_results(kind, machine, document, markdown)))


def write_results(kind: str, machine: dict[str, str], document: dict[str, Any], markdown: str) -> list[Path]:
    """Write `<kind>-<machine>.json` and `.md`; return their paths."""
    name = result_name(kind, machine)
    RESULTS.mkdir(exist_ok=True)
    paths = [RESULTS / f"{name}.json", RESULTS / f"{name}.md"]
    paths[0].write_text(json.dumps({"machine": machine, **document}, indent=2) + "\n")
    paths[1].write_text(markdown)
    return paths


def result_name(kind: str, machine: dict[str, str]) -> str:
    about = re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']} {machine['cores']} cores".lower()).strip("-")
    return f"{kind}-{about}"


def describe_machine(kind: str = "labels", libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return {
        "cpu": cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": f"{versions}, SQLite {sqlite3.sqlite_version}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load when done": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "command": shlex.join(["python", "-m", f"benchmarks.{kind}", *sys.argv[1:]]),
    }


def _line(row: Row | None) -> str:
    if row is None:
        return "| what | wall s | CPU s | peak MB | requests | MB received | rounds | |"
    cells = [
        row.what,
        _number(row.wall_s, 3),
        _number(row.cpu_s, 3),
        _number(row.peak_mb, 0),
        "" if row.requests is None else f"{row.requests:,}",
        _number(row.megabytes, 1),
        str(row.rounds),
        row.note,
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
