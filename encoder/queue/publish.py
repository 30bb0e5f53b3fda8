"""An output gets its final name <out>. It never takes that name from the result of another shard.

    <out> is not there               link the temporary output to <out>: of all who try, one succeeds
    <out> is the temporary output    a publisher died between link and unlink: what is left is the unlink
    <out> is another file            under a lock on the folder: rename over <out>, if `why_kept` allows that

Any process may do this for a decided job, any number of times: the temporary output is used up when it is done, and
who comes later finds <out> to be the file that the ticket describes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from encoder.errors import EncoderError
from encoder.queue.spool import locked
from encoder.stores.object_path import ObjectPath
from saefetch.files.atomic import fsync_folder

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What a file system answers that has no hard links."""


class Unpublished(Exception):
    """The output cannot be published. `for_good`: no other attempt can."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


def publish(out: Path, shard: Path, temporary: Path, mark: object) -> None:
    """Give an output of the job of `shard` its name, unless it has that name. Raises: Unpublished.

    `mark` is what `mark_of` said of the output when the job was decided. An output at an address is another story, see
    `publish_object`.
    """
    if isinstance(out, ObjectPath):
        from encoder.queue.publish_object import publish_object

        publish_object(out, shard, temporary)
        return
    try:
        try:
            if not _link(temporary, out):
                with locked(out.parent):
                    if not out.exists() or not out.samefile(temporary):
                        _replace(temporary, out, shard)
            fsync_folder(out.parent)
            temporary.unlink(missing_ok=True)
        except FileNotFoundError:
            if mark_of(out.stat()) != mark:
                message = f"{temporary.name} is gone, and {out} is another file"
                raise Unpublished(f"the output could not be published: {message}") from None
            fsync_folder(out.parent)
    except OSError as exc:
        raise Unpublished(f"the output could not be published: {exc}") from exc


def _link(temporary: Path, out: Path) -> bool:
    """Return False where a file has the name already, or where there are no links. Raises: OSError."""
    try:
        os.link(temporary, out)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno in NO_LINKS:
            return False
        raise
    return True


def _replace(temporary: Path, out: Path, shard: Path) -> None:
    from encoder.file.feature_file import open_file  # takes numpy along, for what is rare
    from encoder.file.owner import why_kept

    def sha256() -> str:
        try:
            return str(open_file(temporary).meta.get("shard_sha256"))
        except EncoderError:
            return ""

    if os.path.lexists(out) and (reason := why_kept(out, shard, sha256)):
        raise Unpublished(reason, for_good=True)
    temporary.replace(out)


def mark_of(status: os.stat_result) -> dict[str, int]:
    """Return size and mtime: they tell two outputs apart, and a rename keeps them."""
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
