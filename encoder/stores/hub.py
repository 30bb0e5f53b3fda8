"""A repository of Hugging Face as a store that is read from: hf://OWNER/NAME/PATH, hf://datasets/OWNER/NAME/PATH.

    hf://datasets/owner/acts@v2/layer_16      of a branch, a tag or a commit; without `@`, of main

The revision is looked up once, and all is read of that commit, so nothing changes while it is read. The tag of a file
is the hash of its content. Who may read what is for huggingface_hub to know: HF_TOKEN, or its own login; HF_ENDPOINT
names another server.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    http_backoff,
)

from encoder.errors import InputError, UnreachableError
from encoder.stores.address import HUB_TYPES, Address, check_is_written_to
from encoder.stores.secrets import without_secrets
from encoder.stores.store import Below, Data, Entry

_NOT_THERE = (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError)


class HubStore(Below):
    """The files of a repository, below the address."""

    def __init__(self, address: Address) -> None:
        super().__init__(str(address), address.key)
        repository, _, revision = address.bucket.partition("@")
        first, _, rest = repository.partition("/")
        self._type, self._repository = (HUB_TYPES[first], rest) if first in HUB_TYPES else ("model", repository)
        self._revision = unquote(revision) or "main"
        self._endpoint = os.environ.get("HF_ENDPOINT") or None
        self._api = HfApi(endpoint=self._endpoint)

    @cached_property
    def _commit(self) -> str:
        found = self._api.repo_info(self._repository, revision=self._revision, repo_type=self._type)
        return str(found.sha)

    def list(self, below: str = "") -> Iterator[Entry]:
        yield from self._files(below, recursive=True)[1]

    def folder(self, below: str = "") -> tuple[builtins.list[str], builtins.list[Entry]]:
        return self._files(below, recursive=False)

    def _files(self, below: str, *, recursive: bool) -> tuple[builtins.list[str], builtins.list[Entry]]:
        with self._told(below):
            try:
                found = [
                    *self._api.list_repo_tree(
                        self._repository,
                        self._path(below) or None,
                        recursive=recursive,
                        revision=self._commit,
                        repo_type=self._type,
                    )
                ]
            except EntryNotFoundError:
                return [], []
        files = [one for one in found if hasattr(one, "blob_id")]
        folders = [one.path.rpartition("/")[2] for one in found if not hasattr(one, "blob_id")]
        return folders, [self._entry(one) for one in files]

    def status(self, key: str) -> Entry:
        with self._told(key):
            found = self._api.get_paths_info(
                self._repository, [self._path(key)], revision=self._commit, repo_type=self._type
            )
        if not found or not hasattr(found[0], "blob_id"):
            raise FileNotFoundError(2, "there is no such file", self._shown(key))
        return self._entry(found[0])

    def read(self, key: str, start: int = 0, stop: int | None = None, *, etag: str | None = None) -> bytes:
        """Return the bytes [start, stop). The commit is fixed, so the file is the one of `etag`."""
        if stop is not None and stop <= start:
            return b""
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        with self._told(key):
            url = hf_hub_url(
                self._repository,
                self._path(key),
                repo_type=self._type,
                revision=self._commit,
                endpoint=self._endpoint,
            )
            answer = http_backoff("GET", url, headers={**build_hf_headers(), **wanted}, follow_redirects=True)
            hf_raise_for_status(answer)
            data: bytes = answer.content
        return data if answer.status_code == 206 or not wanted else data[start:stop]  # 200: it sent the whole

    def create(self, key: str, data: Data) -> bool:
        check_is_written_to(self._shown(key))
        return False

    def replace(self, key: str, data: Data, etag: str) -> bool:
        check_is_written_to(self._shown(key))
        return False

    def delete(self, key: str) -> None:
        check_is_written_to(self._shown(key))

    def _entry(self, found: Any) -> Entry:
        return Entry(self._key(str(found.path)), int(found.size), str(found.lfs.sha256 if found.lfs else found.blob_id))

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Turn what huggingface_hub raises into one line of ours. What is missing stays FileNotFoundError."""
        try:
            yield
        except _NOT_THERE as exc:
            raise InputError(
                f"{self._shown(key)}: Hugging Face has no such repository or revision, or does not show it without"
                " rights (HF_TOKEN): check the address, and on the repository's page whether its terms are accepted"
            ) from exc
        except EntryNotFoundError as exc:
            raise FileNotFoundError(2, "there is no such file", self._shown(key)) from exc
        except OfflineModeIsEnabled as exc:
            raise InputError(
                f"{self._shown(key)}: HF_HUB_OFFLINE is set, so it cannot be read: unset it, or download"
                " the file and name the local path"
            ) from exc
        except (HTTPError, OSError, ValueError) as exc:
            raise UnreachableError(
                f"{self._shown(key)}: Hugging Face does not answer as it should: {without_secrets(exc)}; run it again"
                " when it does, finished shards are safe; or download it and name the local path"
            ) from None
