"""Does a store keep its word on conditional writes? Two creates of one key: the second one must be told that it lost.

Some stores take the condition and ignore it. Several machines would then write over each other's results, and nobody
would be told. So a store is asked before any work.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

from encoder.errors import EncoderError, InputError
from encoder.stores.store import Store

FOLDER = "_probe"
MAX_TRIES = 4


def check_conditions(store: Store) -> None:
    """Write keys of its own below `_probe` twice, and remove them. Raises: InputError where both writes succeed."""
    for _ in range(MAX_TRIES):
        key = f"{FOLDER}/{secrets.token_hex(8)}"
        try:
            if not _is_created(store, key):
                continue
            if store.create(key, b"second") or store.read(key) != b"first":
                raise InputError(
                    f"{store.place}: the store ignores conditions: it lets a second write replace a first one, so"
                    " several machines would destroy each other's results; use a store with conditional writes"
                    " (If-None-Match)"
                )
            return
        finally:
            with suppress(EncoderError):  # who may write and not remove may go on: what is left here does no harm
                store.delete(key)
    raise InputError(f"{store.place}: the store says of new names that they are taken, and has nothing there")


def _is_created(store: Store, key: str) -> bool:
    """Write a key. The store may call a key taken by the same write, of which it lost the answer."""
    if store.create(key, b"first"):
        return True
    try:
        return store.read(key) == b"first"
    except FileNotFoundError:
        return False
