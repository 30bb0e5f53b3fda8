"""The last step: a reply onto the wire, with the endings that only a broken network has."""

import asyncio
import contextlib
import socket
import struct
from typing import Final

from aiohttp import web

from standin.wire import Reply

KEEP_ALIVE_S: Final = 5.0
# aiohttp names itself, and a content type where the real server sends none (405, 308), unless they are set.
_UNASKED: Final = ("Content-Type", "Server")


async def send(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send the reply, as far as it goes, and end as it says."""
    if reply.cut == -1:
        await _until_the_client_goes()
    if reply.ending == "complete":
        whole = web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        await _prepare(whole, request, reply)
        await whole.write_eof()
        return whole
    part = web.StreamResponse(status=reply.status, headers=reply.headers)
    await _prepare(part, request, reply)
    await part.write(reply.body[: reply.cut])
    if reply.ending == "hang":
        await _until_the_client_goes()
    _hang_up(request, abruptly=reply.ending == "reset")
    return part


async def _prepare(response: web.StreamResponse, request: web.Request, reply: Reply) -> None:
    for name in _UNASKED:
        response.headers.setdefault(name, "")
    if request.keep_alive:
        response.headers["Connection"] = "keep-alive"
        response.headers["Keep-Alive"] = f"timeout={KEEP_ALIVE_S:.0f}"
    if reply.chunked:
        response.enable_chunked_encoding()
    else:
        response.headers["Content-Length"] = str(len(reply.body))
    await response.prepare(request)


async def drop_unasked_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Remove the headers that `send` blanked (a hook for `on_response_prepare`)."""
    for name in _UNASKED:
        if response.headers.get(name) == "":
            del response.headers[name]


async def _until_the_client_goes() -> None:
    # The server cancels the handler when the connection is lost.
    await asyncio.get_running_loop().create_future()


def _hang_up(request: web.Request, *, abruptly: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if not abruptly:
        transport.close()
        return
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
