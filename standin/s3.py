"""The bucket over HTTP, as far as a reader of public objects sees S3: ListObjectsV2 and GET.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

import base64
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from standin.bucket import Bucket, StoredObject
from standin.wire import Record, Reply

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
# Real tokens are base64 with all of its alphabet: this one makes `+` and `/` certain, so an unescaped token fails.
_TOKEN_SALT: Final = b"\xfb\xff\xfe"


class S3:
    """Answers requests to the bucket's origin. Blocking: a first listing builds the folder."""

    def __init__(self, bucket: Bucket, *, max_keys: int = 1000, gzip_header: bool = False) -> None:
        self._bucket = bucket
        self._max_keys = max_keys
        self._gzip_header = gzip_header

    def answer(self, record: Record) -> Reply:
        """Answer one request."""
        if record.method != "GET":
            return error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        parts = urlsplit(record.path)
        if parts.path == "/":
            return self._list(parse_qs(parts.query, keep_blank_values=True))
        key = unquote(parts.path[1:])
        stored = self._bucket.get(key)
        if stored is None:
            return no_such_key(key)
        headers = {"Content-Type": "binary/octet-stream", "ETag": stored.etag, "Accept-Ranges": "bytes"}
        if self._gzip_header and key.endswith(".gz"):
            headers["Content-Encoding"] = "gzip"
        return Reply(200, headers, stored.read(), chunked=False)

    def _list(self, query: dict[str, list[str]]) -> Reply:
        if query.get("list-type") != ["2"]:
            return error(400, "InvalidArgument", "Only list-type=2 is supported here.")
        prefix = query.get("prefix", [""])[0]
        token = query.get("continuation-token", [""])[0]
        found = self._bucket.objects(prefix)
        if token:
            try:
                after = base64.b64decode(token, validate=True).removeprefix(_TOKEN_SALT)
            except ValueError:
                return error(400, "InvalidArgument", "The continuation token provided is incorrect")
            found = [o for o in found if o.key.encode() > after]
        asked = query.get("max-keys", ["1000"])[0]
        limit = min(self._max_keys, int(asked) if asked.isdecimal() else self._max_keys)
        page = found[:limit]
        more = len(found) > len(page) and bool(page)
        fields = [
            ("Name", "neuronpedia-datasets"),
            ("Prefix", prefix),
            *([("ContinuationToken", token)] if token else []),
            *([("NextContinuationToken", _token(page[-1]))] if more else []),
            ("KeyCount", str(len(page))),
            ("MaxKeys", str(limit)),
            ("IsTruncated", "true" if more else "false"),
        ]
        body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields) + "".join(map(_contents, page))
        return _xml(200, f'<ListBucketResult xmlns="{_NAMESPACE}">{body}</ListBucketResult>')


def error(status: int, code: str, message: str, extra: str = "") -> Reply:
    """Return an error in S3's XML."""
    return _xml(status, f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{extra}</Error>")


def no_such_key(key: str) -> Reply:
    """Return what S3 says of an object that is not there."""
    return error(404, "NoSuchKey", "The specified key does not exist.", f"<Key>{escape(key)}</Key>")


def _xml(status: int, body: str) -> Reply:
    return Reply(status, {"Content-Type": "application/xml", "Server": "AmazonS3"}, (_HEAD + body).encode())


def _token(stored: StoredObject) -> str:
    return base64.b64encode(_TOKEN_SALT + stored.key.encode()).decode()


def _contents(stored: StoredObject) -> str:
    return (
        f"<Contents><Key>{escape(stored.key)}</Key><LastModified>{stored.modified}</LastModified>"
        f"<ETag>{escape(stored.etag, {chr(34): '&quot;'})}</ETag><Size>{stored.size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )
