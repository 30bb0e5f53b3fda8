"""What a user names as a place: a path, or an address such as file:///data/acts or s3://bucket/acts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from encoder.errors import InputError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://?(.*)", re.DOTALL)
"""A path that was made of an address has lost one of its slashes."""
_COPY_WITH = {
    "s3": "aws s3 sync", "gs": "gcloud storage rsync -r", "gcs": "gcloud storage rsync -r", "az": "azcopy copy",
    "abfs": "azcopy copy", "abfss": "azcopy copy", "hf": "hf download", "http": "curl -LO", "https": "curl -LO",
    "ftp": "curl -O", "sftp": "sftp", "ssh": "scp -r", "r2": "rclone copy", "memory": "", "file": "",
}  # fmt: skip

_FORMS = {"az": "az://ACCOUNT/CONTAINER/KEY", "hf": "hf://OWNER/NAME/PATH or hf://datasets/OWNER/NAME/PATH"}
_REPOSITORY = re.compile(r"((datasets|spaces|models)/)?[\w.-]+/[\w.-]+(@[\w.%-]+)?", re.ASCII)
HUB_TYPES = {"datasets": "dataset", "spaces": "space", "models": "model"}
"""What stands in front of a repository of Hugging Face that is not of a model, and what it is."""
SCHEMES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az", "hf": "hf"}
"""The schemes of stores, with the name that each has here."""


@dataclass(frozen=True, slots=True)
class Address:
    """A place in an object store: `key` is "" for all of a bucket, and has no slash at either end."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    @property
    def root(self) -> str:
        """The address of the bucket."""
        return f"{self.scheme}://{self.bucket}"


def place_of(named: str | Path | Address) -> Path | Address:
    """Return the path or the address that is named. Raises: InputError for an address of which no store is known."""
    found = None if isinstance(named, Address) else _ADDRESS.fullmatch(str(named))
    scheme = SCHEMES.get(found[1].lower()) if found else None
    if found is None or scheme is None:
        return named if isinstance(named, Address) else local_path(named)
    bucket, _, key = found[2].partition("/")
    if scheme == "az":  # az://account/container/path
        container, _, key = key.partition("/")
        bucket = f"{bucket}/{container}" if bucket and container else ""
    if scheme == "hf":  # hf://owner/name@revision/path, hf://datasets/owner/name/path
        bucket, key = _repository(found[2])
    parts = key.strip("/").split("/")
    if not bucket or any(part in (".", "..") for part in parts) or (key.strip("/") and "" in parts):
        form = _FORMS.get(scheme, f"{scheme}://BUCKET/KEY")
        raise InputError(f"{named}: not an address: write {form}, without empty parts, '.' and '..'")
    if any(mark in (key if scheme == "hf" else str(named)) for mark in "?#@\0"):
        raise InputError(f"{scheme}://...: an address has no '?', '#' or '@': credentials come from the environment")
    return Address(scheme, bucket, "/".join(parts))


def check_is_written_to(named: object) -> None:
    """Raises: InputError for an address that is only read from."""
    if str(named).startswith("hf:"):
        raise InputError(f"{named}: hf:// is not written to; choose a path, s3://, gs:// or az://")


def _repository(text: str) -> tuple[str, str]:
    """Return what names a repository of Hugging Face, and the path in it; "" where it is not named."""
    parts = text.split("/")
    n_parts = 3 if parts[0] in HUB_TYPES else 2
    whole = len(parts) >= n_parts and _REPOSITORY.fullmatch("/".join(parts[:n_parts])) is not None
    return "/".join(parts[:n_parts]) if whole else "", "/".join(parts[n_parts:])


def local_path(named: str | Path) -> Path:
    """Return the path that is named; `file:///data/my%20acts` is the path /data/my acts.

    Raises: InputError for the address of another place than this machine.
    """
    text = str(named)
    found = _ADDRESS.fullmatch(text)
    scheme = found[1].lower() if found else ""
    is_whole = "://" in text
    if found is None or not (is_whole or scheme in _COPY_WITH):
        return Path(named)
    if scheme != "file":
        command = f", for example with `{_COPY_WITH[scheme]}`" if _COPY_WITH.get(scheme) else ""
        shown = text if is_whole else text.replace(":/", "://", 1)
        raise InputError(f"{shown}: not a path of this machine: download it{command}, and name the local copy")
    rest = found[2] if is_whole else f"/{found[2]}"
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise InputError(f"{text}: names the machine {host!r}; write file:///PATH, with three slashes, or the path")
    if "\0" in (plain := unquote(path, errors="surrogateescape")):
        raise InputError(f"{text}: a path has no NUL in it")
    return Path(f"/{plain}")
