"""From a place, which is a path or an address, to the store there. What an address needs is imported only for one."""

from __future__ import annotations

from pathlib import Path

from encoder.stores.address import Address, place_of
from encoder.stores.folder import FolderStore
from encoder.stores.store import Store
from saefetch.extras import needs


def open_store(named: str | Path | Address) -> Store:
    """Open the store at a place. Raises: InputError for an address that cannot be used."""
    place = place_of(named)
    if isinstance(place, Path):
        return FolderStore(place)
    if place.scheme == "hf":
        with needs("cloud", f"{place}"):
            from encoder.stores.hub import HubStore
        return HubStore(place)
    with needs("cloud", f"{place}"):
        from encoder.stores.object_store import ObjectStore
    return ObjectStore(place)
