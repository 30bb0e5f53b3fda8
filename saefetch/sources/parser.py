"""The parser process: a small child that turns the export's blocks into rows, so that a second core is used.

One interpreter computes in one thread at a time, and inflating, parsing and making rows are most of a download's work.
The child is forked before anything heavy is imported and speaks over a socket:

    to the child     stream, OPEN, spec  |  stream, BLOCK, bytes  |  stream, LAST, bytes  |  stream, DROP
    to the parent    stream, TAKEN       |  stream, ROWS, rows    |  stream, FAILED, (class of the error, message)

A stream is an object. Each BLOCK and LAST is answered, so the parent knows when to send the next, and no more than a
block a stream is ever under way. The child keeps nothing that matters: if it dies, what it was parsing is fetched
again. It ignores SIGINT and SIGTERM, as its parent may still want rows to commit, and ends when the socket does: the
kernel closes that however the parent dies.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

OPEN, BLOCK, LAST, DROP, TAKEN, ROWS, FAILED = range(7)
HEADER = struct.Struct("<IBI")
"""Stream, kind, length of what follows."""
PIECE = 1 << 16
SEND_BUFFER = 1 << 20
"""Bytes on their way to the child: what does not fit has to be copied and sent later."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Child:
    """The running process and our end of the socket."""

    pid: int
    socket: socket.socket

    def end(self) -> None:
        """End it at once: it holds nothing that matters."""
        self.socket.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start() -> Child | None:
    """Fork the parser process; return None where that cannot be done, and parsing is then for threads to do.

    To be called early: the child is as small as this process was at the time. A process with threads must not fork, as
    a lock that another thread holds would stay locked in the child.
    """
    if threading.active_count() > 1:
        return None
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the child must not act on one by its parent's handler
    try:
        pid = os.fork()
        if not pid:
            _be_the_child(ours, theirs)
    except OSError:  # as many processes as are allowed
        ours.close()
        return None
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return Child(pid, ours)


def _be_the_child(ours: socket.socket, theirs: socket.socket) -> NoReturn:
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        ours.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # who reads our parent's output must not wait for us to close it
            os.dup2(nowhere, descriptor)
        gc.disable()  # rows are no cycles, and going through all of them again and again takes its time
        serve(theirs)
    finally:
        os._exit(sys.exc_info()[0] is not None)


def serve(sock: socket.socket) -> None:
    """Parse what comes until the other end is closed."""
    import msgspec

    from saefetch.errors import RequestError
    from saefetch.objects import ObjectReader, Spec

    encode = msgspec.msgpack.Encoder().encode
    readers: dict[int, ObjectReader] = {}
    while len(header := sock.recv(HEADER.size, socket.MSG_WAITALL)) == HEADER.size:
        stream, kind, length = HEADER.unpack(header)
        if kind == OPEN:
            readers[stream] = ObjectReader(Spec(*msgspec.msgpack.decode(sock.recv(length, socket.MSG_WAITALL))))
            continue
        if kind == DROP:
            readers.pop(stream, None)
            continue
        answer, body, arriving = TAKEN, b"", _pieces(sock, length)
        try:
            for piece in arriving:
                readers[stream].feed(piece)
            if kind == LAST:
                answer, body = ROWS, encode(readers.pop(stream).finish())
        except RequestError as exc:
            for _ in arriving:  # what follows of the block is nobody's
                pass
            answer, body = FAILED, encode((type(exc).__name__, str(exc)))
        sock.sendall(HEADER.pack(stream, answer, len(body)) + body)


def _pieces(sock: socket.socket, length: int) -> Iterator[bytes]:
    """Yield the next `length` bytes in pieces so small that the allocator keeps their memory for the next one."""
    while length and (piece := sock.recv(min(length, PIECE))):
        yield piece
        length -= len(piece)
