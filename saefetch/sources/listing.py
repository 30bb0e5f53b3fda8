"""ListObjectsV2 of the export's bucket.

Format: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlencode
from xml.etree import ElementTree

from saefetch.errors import BadAnswerError
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.net.transport import Transport
from saefetch.store.answers import ExportObject

_BATCH = re.compile(r"batch-\d+\.jsonl\.gz")
_NUMBER = re.compile(r"batch-(\d+)\.")
MAX_NUMBER = 1_000_000
"""An object with a larger number is not part of a count from 0."""


class Page(NamedTuple):
    objects: list[ExportObject]
    next_token: str | None


async def list_batches(transport: Transport, export_url: str, prefix: str, max_bytes: int) -> list[ExportObject]:
    """List the `batch-<n>.jsonl.gz` objects directly under `prefix`, which ends in `/`, through all pages."""
    objects: dict[str, ExportObject] = {}
    token: str | None = None
    while True:
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        url = f"{export_url}/?{urlencode(query)}"
        page = await transport.send(_request(url, max_bytes))
        new = [o for o in page.objects if o.key.startswith(prefix) and _BATCH.fullmatch(o.key[len(prefix) :])]
        seen = len(objects)
        objects |= {o.key: o for o in new}
        if page.next_token is None:
            return list(objects.values())
        if page.next_token == token or (new and len(objects) == seen):
            raise BadAnswerError(f"GET {url}: the listing goes round in circles")
        token = page.next_token


def find_holes(listing: list[ExportObject]) -> list[str]:
    """Return the keys that one folder's listing lacks: its objects are numbered from 0 without holes."""
    keys = {export_object.key for export_object in listing}
    numbers = [int(_NUMBER.findall(key)[-1]) for key in keys]
    if not numbers or max(numbers) > MAX_NUMBER:
        return []
    prefix = next(iter(keys)).rpartition("/")[0]
    return [key for n in range(max(numbers)) if (key := f"{prefix}/batch-{n}.jsonl.gz") not in keys]


def _request(url: str, max_bytes: int) -> Request[Page]:
    return Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, parse_page))


def parse_page(body: bytes) -> Page:
    """Parse one answer.

    Raises: ValueError if it is no ListBucketResult.
    """
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as exc:
        raise ValueError(f"not XML: {exc}") from exc
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ValueError(f"not a bucket listing but <{root.tag.rpartition('}')[2]}>")
    objects = []
    for contents in root.iterfind("{*}Contents"):
        key, etag, size = (contents.findtext("{*}" + name) or "" for name in ("Key", "ETag", "Size"))
        objects.append(ExportObject(key, etag, int(size) if size.isdigit() else 0))
    truncated = root.findtext("{*}IsTruncated") == "true"
    token = root.findtext("{*}NextContinuationToken") if truncated else None
    if truncated and not token:
        raise ValueError("a truncated listing without a continuation token")
    return Page(objects, token)
