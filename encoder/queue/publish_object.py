"""An output at an address gets its name by one conditional write, and never takes it from another shard's result.

create: it is not there          written; of all who try, one succeeds
"it exists"                      the object is read back: what the store calls "exists" may be its answer to a
                                 write that met another one, to our own write of which the answer was lost, or true
  there is none                  again
  the shard's result, as it is   done: somebody else has finished it
  the shard's, of before         written over it, if it is still the same object
  another's                      kept; the job fails with the reason, and what to do
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError, InputError, UnreachableError
from encoder.queue.publish import Unpublished
from encoder.stores.object_path import ObjectPath

MAX_TRIES = 8
WAIT_S = 0.25
_SAME = ("shard_path", "shard_size", "shard_sha256", "weights_sha256", "values", "select", "exclude", "warning")
"""Members of `meta` that are equal where one result is as good as another."""


def publish_object(
    out: ObjectPath, shard: Path, temporary: Path, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Write the temporary output of the job of `shard` to its address, unless it is there. Raises: Unpublished."""
    try:
        if temporary.exists():
            _publish(out, shard, temporary, sleep)
            temporary.unlink(missing_ok=True)
        elif out.tree.renew(out.address.key) is None:
            raise Unpublished(f"the output could not be published: {temporary.name} is gone, and {out} is not there")
    except (EncoderError, OSError) as exc:
        for_good = isinstance(exc, InputError) and not isinstance(exc, UnreachableError)
        raise Unpublished(f"the output could not be published: {exc}", for_good=for_good) from exc


def _publish(out: ObjectPath, shard: Path, temporary: Path, sleep: Callable[[float], None]) -> None:
    store, key = out.tree.store, out.address.key
    with temporary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for tried in range(MAX_TRIES):
            if store.create(key, data):
                return
            there = out.tree.renew(key)
            if there is None:
                sleep(WAIT_S * 2**tried)
            elif _is_done(out, shard, temporary) or store.replace(key, data, there.etag):
                return
    raise UnreachableError(f"{out}: the store says that it exists, and that it does not; run it again")


def _is_done(out: ObjectPath, shard: Path, temporary: Path) -> bool:
    """Say whether the object is the result that is to be written; if not, it may be written over.

    Raises: Unpublished where it may not.
    """
    from encoder.file.feature_file import meta_of  # takes numpy along, for what is rare
    from encoder.file.owner import why_kept

    mine = meta_of(temporary)
    if reason := why_kept(out, shard, lambda: str(mine.get("shard_sha256"))):
        raise Unpublished(reason, for_good=True)
    try:
        theirs: dict[str, Any] = meta_of(out)
    except EncoderError:
        return False  # damaged
    return all(theirs.get(name) == mine.get(name) for name in _SAME)
