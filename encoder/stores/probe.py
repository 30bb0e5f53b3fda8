"""Does a store keep its word on conditional writes? Two creates of one key: the second one must be told that it lost.

Some stores take the condition and ignore it. Several machines would then write over each other's results, and nobody
would be told. So a store is asked before any work.
"""

from __future__ import annotations

import secrets

from encoder.errors import InputError
from encoder.stores.store import Store

FOLDER = "_probe"


def check_conditions(store: Store) -> None:
    """Write a key of its own below `_probe` twice, and remove it. Raises: InputError where both writes succeed."""
    key = f"{FOLDER}/{secrets.token_hex(8)}"
    try:
        if not store.create(key, b"first"):
            raise InputError(f"{store.place}: the store says that {key} is taken, which nobody wrote; is it writable?")
        if store.create(key, b"second") or store.read(key) != b"first":
            raise InputError(
                f"{store.place}: the store ignores conditions: it lets a second write replace a first one, so several"
                " machines would destroy each other's results; use a store with conditional writes (If-None-Match)"
            )
    finally:
        store.delete(key)
