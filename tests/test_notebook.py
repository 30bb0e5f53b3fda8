"""docs/quickstart.ipynb runs top to bottom, offline, and its outputs in the file are those that a reader will get."""

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "quickstart.ipynb"
NUMBER = re.compile(r"\d[\d,.]*")
# What depends on the machine: which product is fastest, how fast the encoding was, and the bar, whose drawing is timed.
MACHINE = re.compile(r"kernel .*|[\d,]+ tokens/s|.*features/s.*")

FOLDER = re.compile(r"/[\w/.-]*/tmp\w{8}|/tmp/tmp\w{8}")
"""The folder of one run, which pages name."""


def outputs(cell: Any) -> list[tuple[str, str]]:
    """Return the kinds of a cell's outputs and their plain texts, without what depends on the machine."""
    found = []
    for output in cell.get("outputs", []):
        assert output["output_type"] != "error", "\n".join(output["traceback"])
        text = output.get("text") or output["data"]["text/plain"]
        kind = "/".join([output.get("name", ""), *sorted(output.get("data", {}))])
        found.append((kind, NUMBER.sub("0", MACHINE.sub("", text)).strip()))
    return found


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_the_notebook_runs_top_to_bottom_and_shows_what_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEURONPEDIA_API_KEY", "SAEFETCH_API_URL", "SAEFETCH_EXPORT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    there, book = read(), read()
    for cell in book.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(
        book, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert not list(tmp_path.iterdir()), "the notebook leaves the reader's folder as it was"
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
    fresh = tmp_path / NOTEBOOK.name
    fresh.write_text(FOLDER.sub("…", nbformat.writes(book)), encoding="utf-8")  # type: ignore[no-untyped-call]
    for number, (cell, written) in enumerate(zip(book.cells, there.cells, strict=True)):
        assert outputs(cell) == outputs(written), (
            f"cell {number} shows something else now; if that is right: cp {fresh} docs"
        )


def test_the_notebook_in_the_repository_has_outputs_and_no_path_of_anybodys_machine() -> None:
    book = read()
    kinds = [kind for cell in book.cells for kind, _ in outputs(cell)]
    assert sum("text/html" in kind for kind in kinds) >= 4, "two bars and two pages"
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1 << 20
    assert not re.search(r"/(tmp|root|home|work|Users)/", text)
    assert not any("stderr" in kind for kind in kinds)
