"""A store as far away as a fair S3: every answer begins after LATENCY_S, and each stream brings BYTES_PER_S at most.

    python -m benchmarks.fair_s3 FOLDER      serves FOLDER/<key> as s3://bucket/<key>; prints its port, ends with stdin

Bytes come from a map of the file, in steps, each no sooner than it is due. A process of its own, so that its work is
not the encoder's; on a machine of few cores it takes a share of them all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from aiohttp import web

LATENCY_S = 0.020
BYTES_PER_S = 100e6
STEP_BYTES = 1 << 20


class FairS3:
    """Objects are files below `root`; a write is one `os.link`, as its condition asks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(LATENCY_S)
        key = request.match_info.get("key", "")
        path = self._root / key
        if not key and request.method == "GET":
            return self._list(request)
        if not key and request.method == "POST":
            names = [part.partition(b"</Key>")[0].decode() for part in (await request.read()).split(b"<Key>")[1:]]
            for name in names:
                (self._root / name).unlink(missing_ok=True)
            gone = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
            return web.Response(text=f"<DeleteResult>{gone}</DeleteResult>", content_type="application/xml")
        if request.method == "PUT":
            return await self._put(request, path)
        if request.method == "DELETE":
            path.unlink(missing_ok=True)
            return web.Response(status=204)
        if not path.is_file():
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        return await self._get(request, path, path.stat().st_size)

    async def _get(self, request: web.Request, path: Path, size: int) -> web.StreamResponse:
        headers = {"ETag": tag(path), "Last-Modified": "Tue, 01 Dec 2026 00:00:00 GMT"}
        start, stop, status = 0, size, 200
        if "Range" in request.headers:
            first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
            start, stop, status = int(first), min(size, int(last) + 1 if last else size), 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(stop - start)})
        await response.prepare(request)
        if request.method == "GET" and stop > start:
            clock = asyncio.get_running_loop().time
            began = clock()
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                for at in range(start, stop, STEP_BYTES):
                    due = began + (min(at + STEP_BYTES, stop) - start) / BYTES_PER_S
                    await asyncio.sleep(max(0.0, due - clock()))
                    await response.write(whole[at : min(at + STEP_BYTES, stop)])
        return response

    async def _put(self, request: web.Request, path: Path) -> web.Response:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{id(request)}")
        n_bytes = temporary.write_bytes(await request.read())
        await asyncio.sleep(n_bytes / BYTES_PER_S)
        try:
            if request.headers.get("If-None-Match") == "*":
                os.link(temporary, path)
            else:
                temporary.replace(path)
        except FileExistsError:
            return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
        finally:
            temporary.unlink(missing_ok=True)
        return web.Response(headers={"ETag": tag(path)})

    def _list(self, request: web.Request) -> web.Response:
        prefix, contents, folders = request.query.get("prefix", ""), "", ""
        for path in sorted((self._root / prefix).glob("*" if "delimiter" in request.query else "**/*")):
            key = path.relative_to(self._root).as_posix()
            if path.is_file():
                contents += f"<Contents><Key>{escape(key)}</Key><Size>{path.stat().st_size}</Size><ETag>{tag(path)}"
                contents += "</ETag><LastModified>2026-12-01T00:00:00.000Z</LastModified></Contents>"
            elif "delimiter" in request.query:
                folders += f"<CommonPrefixes><Prefix>{escape(key)}/</Prefix></CommonPrefixes>"
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{folders}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")


def tag(path: Path) -> str:
    status = path.stat()
    return f'"{hashlib.md5(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()}"'


async def serve(root: Path) -> None:
    app = web.Application(client_max_size=6 << 30)
    for path in ("/bucket", "/bucket/{key:.*}"):
        app.router.add_route("*", path, FairS3(root).answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
