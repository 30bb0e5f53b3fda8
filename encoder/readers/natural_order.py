"""The order of numbered names as people count: doc_2 before doc_10.

Files of names keep the order in which they were written, or none: HDF5, zarr and safetensors sort the names as words,
in which doc_10 comes before doc_2. Documents under such names are read in the order of their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def natural(name: str) -> list[tuple[int, str]]:
    """Order `a_2` before `a_10`; the name itself breaks ties such as `a_2` and `a_02`."""
    parts = re.split(r"([0-9]+)", name)
    parts[1::2] = (part.lstrip("0") for part in parts[1::2])  # numbers of any length: the longer one is larger
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)] + [(0, name)]


def in_order(named: Mapping[str, T]) -> dict[str, T]:
    """Return what a format without an order of its own holds, in the order of the numbers in the names."""
    return {name: named[name] for name in sorted(named, key=natural)}
