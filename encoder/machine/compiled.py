"""The decorator of every loop that numba compiles: the loop runs without the GIL, and its code is cached.

numba looks for a folder for its cache in this order: NUMBA_CACHE_DIR if that variable is set, `__pycache__` beside the
module, `~/.cache/numba`. If it can write to none of them, every process compiles the loops again when it first calls
them, which takes many seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

Function = Callable[..., Any]


def compiled(**settings: Any) -> Callable[[Function], Any]:
    """Return numba's `njit(nogil=True, **settings)`, with a cache if numba finds a folder for the cache."""
    return partial(_compiled, settings)


def _compiled(settings: dict[str, Any], function: Function) -> Any:
    try:
        return numba.njit(cache=True, nogil=True, **settings)(function)
    except RuntimeError:  # numba raises where it finds no folder, instead of compiling without a cache
        return numba.njit(nogil=True, **settings)(function)
