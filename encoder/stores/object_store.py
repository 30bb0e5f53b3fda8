"""A bucket as a store, through obstore: S3 and what speaks like it, Google's and Azure's.

Credentials and endpoint come from the provider's own environment variables and files; obstore reads them. What its
errors say is cut to one line, from which the values of these variables and the queries of addresses are removed.

obstore tries again what may be tried again, with a backoff, for RETRY_S: broken connections, 5xx, SlowDown. A create
of which the answer was lost is sent twice, and the second answer is that the key is taken, by the first one: `create`
returns False then, and whoever has to know reads the object.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from encoder.errors import ChangingError, InputError, UnreachableError
from encoder.stores.address import Address
from encoder.stores.secrets import without_secrets
from encoder.stores.store import MAX_PUT_BYTES, Below, Data, Entry

MAX_RETRIES = 8
RETRY_S = 60
"""How long one request is tried again: a store that is throttling comes round, one that is gone does not."""
CONNECT_S, READ_S, WRITE_S = 10, 120, 3600
"""The limits of one request. A read is of some megabytes, a write may be of gigabytes."""
_PROVIDERS = ("AWS_", "GOOGLE_", "AZURE_", "MSI_", "IDENTITY_", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_")
_REFUSED = re.compile(r"status code: 40[13]\b")
"""What obstore says of a list that nobody may see, in an error without a class of its own."""
_NO_BUCKET = re.compile(r"<Code>NoSuchBucket|status code: 404\b")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true",
    "az": "AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true",
}
_METADATA_SERVICE = "169.254.169.254"
"""Where obstore asks for credentials where nothing else has any."""


class ObjectStore(Below):
    """The objects below an address. `client` is a store of obstore; without one, it is made for the address."""

    def __init__(self, address: Address, client: Any = None) -> None:
        super().__init__(str(address), address.key)
        self._client: Any = _client_for(address, READ_S) if client is None else client
        self._writer: Any = _client_for(address, WRITE_S) if client is None else client

    def list(self, below: str = "") -> Iterator[Entry]:
        folder = self._path(below)
        with self._told(below):
            for page in obstore.list(self._client, f"{folder}/" if folder else None):
                for found in page:
                    yield self._entry(found)

    def folder(self, below: str = "") -> tuple[builtins.list[str], builtins.list[Entry]]:
        folder = self._path(below)
        with self._told(below):
            found = obstore.list_with_delimiter(self._client, f"{folder}/" if folder else None)
        folders = [str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
        return folders, [self._entry(one) for one in found["objects"]]

    def status(self, key: str) -> Entry:
        with self._told(key):
            return self._entry(obstore.head(self._client, self._path(key)))

    def read(self, key: str, start: int = 0, stop: int | None = None, *, etag: str | None = None) -> bytes:
        if stop is not None and stop <= start:
            return b""
        wanted: dict[str, Any] = {} if etag is None else {"if_match": etag}
        if stop is not None or start:
            wanted["range"] = {"offset": start} if stop is None else (start, stop)
        with self._told(key):
            try:
                return bytes(obstore.get(self._client, self._path(key), options=wanted).bytes())  # type: ignore[arg-type]
            except PreconditionError as exc:
                raise ChangingError(
                    f"{self._shown(key)}: changed while it was read; try it again when it is complete"
                ) from exc

    def create(self, key: str, data: Data) -> bool:
        return self._put(key, data, "create")

    def replace(self, key: str, data: Data, etag: str) -> bool:
        with self._told(key):
            try:
                there = obstore.head(self._client, self._path(key))
            except FileNotFoundError:
                return False
        if _tag(there) != etag:
            return False
        known = {name: there[name] for name in ("e_tag", "version") if there[name]}
        return self._put(key, data, known)  # GCS goes by the version

    def delete(self, key: str) -> None:
        with self._told(key):
            try:
                obstore.delete(self._client, self._path(key))
            except FileNotFoundError:
                return

    def _put(self, key: str, data: Data, mode: Any) -> bool:
        if len(data) > MAX_PUT_BYTES:
            raise InputError(
                f"{self._shown(key)}: {len(data):,} bytes are more than one conditional write takes,"
                f" {MAX_PUT_BYTES:,}; cut the shard into smaller ones"
            )
        with self._told(key):
            try:
                obstore.put(self._writer, self._path(key), data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError:
                if mode == "create":  # the bucket
                    raise
                return False
            return True

    def _entry(self, found: Any) -> Entry:
        return Entry(self._key(str(found["path"])), int(found["size"]), _tag(found))

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Turn what obstore raises into one line of ours. What is missing stays FileNotFoundError."""
        try:
            yield
        except FileNotFoundError as exc:
            raise FileNotFoundError(2, "there is no such object", self._shown(key)) from exc
        except (BaseError, OSError, ValueError) as exc:
            if _METADATA_SERVICE in str(exc):
                raise InputError(
                    f"{self._shown(key)}: no credentials: the environment has none, and this machine is given none; set"
                    f" {_CREDENTIALS[self.place.partition(':')[0]]} for what everybody may read; or download it"
                    " and name the local path"
                ) from None
            if isinstance(exc, PermissionDeniedError | UnauthenticatedError) or _REFUSED.search(str(exc)):
                raise InputError(
                    f"{self._shown(key)}: the store refuses: {without_secrets(exc)}; check the credentials in the"
                    " environment, and what they allow"
                ) from None
            if _NO_BUCKET.search(str(exc)):
                raise InputError(f"{self._shown(key)}: there is no such bucket; check the address") from None
            raise UnreachableError(
                f"{self._shown(key)}: the store does not answer as it should: {without_secrets(exc)}; run it again"
                " when it does, finished shards are safe; or name a local copy"
            ) from None


def _tag(found: Any) -> str:
    return str(found["e_tag"] or found["last_modified"])


def _client_for(address: Address, request_s: int) -> Any:
    """Return a client of a bucket, the same one as long as the environment is."""
    named = {name: value for name, value in os.environ.items() if name.startswith(_PROVIDERS)}
    return _new_client(address.root, address.scheme, request_s, tuple(sorted(named.items())))


@lru_cache(maxsize=16)
def _new_client(root: str, scheme: str, request_s: int, environment: tuple[tuple[str, str], ...]) -> Any:
    """Make a client, which reads the `environment`. Raises: InputError."""
    from obstore.store import from_url

    options: dict[str, Any] = {
        "client_options": {"connect_timeout": timedelta(seconds=CONNECT_S), "timeout": timedelta(seconds=request_s)},
        "retry_config": {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
    }
    if os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true") and scheme == "s3":
        options["client_options"]["allow_http"] = True
    try:
        return from_url(root, **options)
    except (BaseError, ValueError) as exc:
        raise InputError(f"{root}: cannot be used: {without_secrets(exc)}; check the address") from None
