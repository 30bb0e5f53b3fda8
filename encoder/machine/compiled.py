"""The decorator of every loop that numba compiles: without the GIL, and compiled once for this machine.

The code is kept beside the module, in `__pycache__`; where that cannot be written, in `~/.cache/numba`; or in
NUMBA_CACHE_DIR. Where none of these can be written, each process compiles for itself what it calls: many seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

Function = Callable[..., Any]


def compiled(**settings: Any) -> Callable[[Function], Any]:
    """Return numba's `njit(nogil=True, **settings)`, with its cache where there is a place for one."""
    return partial(_compiled, settings)


def _compiled(settings: dict[str, Any], function: Function) -> Any:
    try:
        return numba.njit(cache=True, nogil=True, **settings)(function)
    except RuntimeError:  # numba refuses to cache, rather than not to
        return numba.njit(nogil=True, **settings)(function)
