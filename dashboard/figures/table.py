"""A table as CSV or TSV for spreadsheets, and as JSON. Numbers are whole, in their shortest form that is read back."""

from __future__ import annotations

import csv
import io
import json

from dashboard.figures.figure import Cell, Figure, lines_of

_FORMULA = "=+-@\t\r"
"""A text that begins like this would be a formula to a spreadsheet, and other people wrote these texts."""


def separated(figure: Figure, delimiter: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(figure.table.columns)
    writer.writerows([_plain(cell) for cell in row] for row in figure.table.rows)
    return out.getvalue()


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(tuple(_FORMULA)) else cell
    return cell


def as_json(figure: Figure) -> str:
    rows = [dict(zip(figure.table.columns, row, strict=True)) for row in figure.table.rows]
    return json.dumps(
        {"title": lines_of(figure.title), "caption": figure.caption, "rows": rows},
        ensure_ascii=False,
        indent=1,
        default=float,
    )
