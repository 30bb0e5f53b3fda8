"""Decide which tests are `fast`: `pytest -m fast` runs them in half a minute, without torch, browsers and processes.

A module is heavy if it, or a module of this folder that it imports, imports one of HEAVY; `-m fast` does not even
import a heavy module. A test of another module is fast unless it, one of its fixtures, or a function of the tests that
they call uses one of PROCESSES.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

HEAVY = {"playwright", "sae_lens", "torch", "triton"}
PROCESSES = {"nbclient", "psutil", "subprocess"}
WHOLE_DOWNLOADS = {"test_sources.py", "test_real_labels.py"}
"""Modules of which each test downloads whole SAEs."""
SUPPORT = Path(__file__).parent
IMPORT = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)


@cache
def is_heavy(path: Path) -> bool:
    """Tell whether importing a test module takes long, by its text."""
    names = set(IMPORT.findall(path.read_text(encoding="utf-8")))
    others = (SUPPORT / f"{name}.py" for name in names)
    return bool(names & HEAVY) or path.name in WHOLE_DOWNLOADS or any(map(is_heavy, filter(Path.is_file, others)))


def mark(items: list[pytest.Item]) -> None:
    """Mark the tests that are fast."""
    for item in items:
        if is_heavy(item.path) or any(item.get_closest_marker(name) for name in ("slow", "gpu", "scale")):
            continue
        seen: set[object] = set()
        if not any(_starts_a_process(function, seen) for function in _functions(item)):
            item.add_marker(pytest.mark.fast)


def _functions(item: pytest.Item) -> Iterator[object]:
    """Yield the function of a test and those of its fixtures."""
    yield getattr(item, "obj", None)
    info = getattr(item, "_fixtureinfo", None)
    for definitions in info.name2fixturedefs.values() if info else ():
        yield from (definition.func for definition in definitions)


def _starts_a_process(named: object, seen: set[object]) -> bool:
    """Tell whether a function or class of the tests uses one of PROCESSES, itself or in what it calls."""
    if isinstance(named, ModuleType):
        return named.__name__ in PROCESSES
    if isinstance(named, type) and _is_ours(named):
        return any(_starts_a_process(method, seen) for method in vars(named).values())
    function = getattr(named, "__func__", named)
    function = inspect.unwrap(getattr(getattr(function, "hypothesis", None), "inner_test", function))
    if not isinstance(function, FunctionType) or function in seen or not _is_ours(function):
        return False
    seen.add(function)
    return any(_starts_a_process(function.__globals__.get(name), seen) for name in _names(function.__code__))


def _names(code: CodeType) -> set[str]:
    """Return the names that a function uses, and those of the functions in it."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _is_ours(named: type | FunctionType) -> bool:
    return named.__module__.startswith("test_") or (SUPPORT / f"{named.__module__}.py").is_file()
