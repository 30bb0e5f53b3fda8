"""The parser process: it says what a thread would say, and nothing is lost when it, or its parent, comes to an end."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command import RELEASE, SAE_ID, Ended, end, saefetch, start, wait_until
from harness import make_world

from saefetch.decode import Rows
from saefetch.errors import BadAnswerError, BrokenBodyError, RequestError, TooLargeError
from saefetch.objects import MAX_LINE, Spec
from saefetch.sources import parser
from saefetch.sources.parser import Child
from saefetch.sources.unpack import Reader, Unpacker
from standin import Standin

SPEC = Spec("GET x", "features", "5-res", 1000)
SERVE = "import socket, sys; from saefetch.sources import parser; parser.serve(socket.socket(fileno=int(sys.argv[1])))"
LINES = b"".join(
    [
        b'{"index": "7", "layer": "5-res", "pos_str": [" dog", "\xf0\x9f\x90\x95"], "maxActApprox": 1.5}\n',
        b'{"index": 8, "pos_str": ["raw \x01 control", "lone \\ud83d"], "frac_nonzero": NaN}\n',
        b'{"index": 9, "layer": "another"}\n',
        b'{"index": 1000}\n',
        b"{never to be mended}\n",
        *(b'{"index": %d, "vector": [%s]}\n' % (i, b",".join([b"0.125"] * 500)) for i in range(10, 40)),
    ]
)


@pytest.fixture
def child() -> Iterator[Child]:
    """A parser process that is not a fork of this one, which has threads."""
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(fd)], pass_fds=[fd])
    theirs.close()
    yield Child(process.pid, ours)
    ours.close()
    process.kill()
    process.wait()


async def read(unpacker: Unpacker, body: bytes, step: int, spec: Spec = SPEC) -> Rows | tuple[type[Exception], str]:
    """Read an object in blocks of `step` bytes; return its rows, or what is wrong with it."""
    reader = unpacker.open(spec)
    try:
        last = max(0, len(body) - 1) // step * step
        for at in range(0, last, step):
            await reader.feed(body[at : at + step])
        return await reader.finish(body[last:])
    except RequestError as exc:
        return type(exc), str(exc)
    finally:
        reader.close()


def in_both(child: Child, work: Callable[[Unpacker], Any]) -> tuple[Any, Any]:
    """Do `work` with the parser process and with threads."""

    async def run(given: Child | None) -> Any:
        async with Unpacker(given, lambda: pytest.fail("the child is gone")) as unpacker:
            return await work(unpacker)

    return asyncio.run(run(child)), asyncio.run(run(None))


@pytest.mark.parametrize("step", [100, 4096, 1 << 17])
@pytest.mark.parametrize("packed", [True, False])
def test_both_give_the_same_rows_and_counts(child: Child, step: int, packed: bool) -> None:
    body = gzip.compress(LINES) if packed else LINES
    rows, expected = in_both(child, lambda unpacker: read(unpacker, body, step))
    assert rows == expected
    assert [row[0] for row in rows.features] == [7, 8, *range(10, 40)]
    assert (rows.repaired, rows.ignored, rows.lost) == (1, 3, 1)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (gzip.compress(LINES)[:-4], BrokenBodyError),
        (gzip.compress(os.urandom(1 << 19))[:-1000] + b"x" * 1000, BrokenBodyError),
        (b"not gzip" * 100_000, BrokenBodyError),
        (gzip.compress(b"{" + b" " * (MAX_LINE + 1)), TooLargeError),
        (gzip.compress(b'{"no": "row"\n' * 9), BadAnswerError),
    ],
    ids=["cut", "damaged", "no gzip", "endless line", "no row"],
)
def test_both_find_the_same_fault_and_the_child_goes_on_after_it(
    child: Child, body: bytes, error: type[Exception]
) -> None:
    async def work(unpacker: Unpacker) -> Any:
        return await read(unpacker, body, 1 << 17), await read(unpacker, gzip.compress(LINES), 1 << 17)

    (fault, after), (expected, expected_after) = in_both(child, work)
    assert fault == expected
    assert fault[0] is error
    assert after == expected_after


def test_many_objects_at_the_same_time_are_kept_apart(child: Child) -> None:
    def body(n: int) -> bytes:
        return gzip.compress(b"".join(b'{"index": %d, "description": "of %d"}\n' % (i, n) for i in range(n)))

    spec = SPEC._replace(folder="explanations")

    async def work(unpacker: Unpacker) -> list[Any]:
        return await asyncio.gather(*(read(unpacker, body(n), 64, spec) for n in range(1, 30)))

    found, _ = in_both(child, work)
    assert [rows.explanations for rows in found] == [[(i, "", "", f"of {n}") for i in range(n)] for n in range(1, 30)]


def test_an_object_that_is_given_up_leaves_no_trace(child: Child) -> None:
    async def work(unpacker: Unpacker) -> Any:
        given_up: list[Reader] = [unpacker.open(SPEC) for _ in range(5)]
        for reader in given_up:
            await reader.feed(b"not gzip")  # the answer to which nobody awaits
            reader.close()
        return await read(unpacker, gzip.compress(LINES), 1 << 17)

    found, expected = in_both(child, work)
    assert found == expected


def test_without_the_child_its_objects_fail_as_if_cut_and_threads_read_the_next(child: Child) -> None:
    lost = []

    async def work() -> None:
        async with Unpacker(child, lambda: lost.append(True)) as unpacker:
            waiting, later = unpacker.open(SPEC), unpacker.open(SPEC)
            os.kill(child.pid, signal.SIGSTOP)
            await waiting.feed(gzip.compress(LINES))
            asking = asyncio.create_task(waiting.finish(b""))
            await asyncio.sleep(0)
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(BrokenBodyError, match="GET x: the process that was unpacking it is gone"):
                await asking
            with pytest.raises(BrokenBodyError):
                await later.finish(gzip.compress(LINES))
            assert isinstance(await read(unpacker, gzip.compress(LINES), 1 << 17), Rows)

    asyncio.run(work())
    assert lost == [True]


def test_a_process_with_threads_does_not_fork() -> None:
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    assert parser.start() is None
    waiting.set()
    thread.join()


# -- the real command --------------------------------------------------------------------------------------------------


def slow() -> Standin:
    return Standin(make_world(300), features_batch=10, explanations_batch=10, lean=True, latency_s=0.05)


def start_download(folder: Path, standin: Standin) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start a download with one request at a time; return it and its parser process, when objects are being read."""
    flags = ["download", "--source", "export", "--num-features", "300", "--concurrency", "1"]
    process = start(folder, *flags, standin=standin)
    wait_until(lambda: len(standin.requests) > 5)
    (child,) = psutil.Process(process.pid).children()
    return process, child


def features(folder: Path) -> str:
    return (folder / "sae" / RELEASE / SAE_ID.replace("/", "_") / "feature_labels.json").read_text().split('"stats"')[0]


def features_only(text: str) -> str:
    return text[text.index('"features"') :]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("undisturbed")
    with slow() as standin:
        done = saefetch(folder, "download", "--source", "export", "--num-features", "300", standin=standin)
    assert done.status == 0, done.err
    return features_only(features(folder))


def test_a_download_goes_on_without_its_parser_process_and_says_so(tmp_path: Path, undisturbed: str) -> None:
    with slow() as standin:
        process, child = start_download(tmp_path, standin)
        child.kill()
        done: Ended = end(process)
    assert done.status == 0
    assert done.err.count("the process that parses the export has ended; going on without it") == 1
    assert "Traceback" not in done.err
    assert features_only(features(tmp_path)) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_parser_process_does_not_outlive_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    with slow() as standin:
        process, child = start_download(tmp_path, standin)
        process.send_signal(number)
        done = end(process)
    assert done.status == (-number if number == signal.SIGKILL else 128 + number)
    child.wait(5)


def test_a_signal_to_all_of_them_is_the_parents_to_obey(tmp_path: Path, undisturbed: str) -> None:
    with slow() as standin:
        process, child = start_download(tmp_path, standin)
        for number in (signal.SIGINT, signal.SIGTERM):
            child.send_signal(number)
        wait_until(lambda: len(standin.requests) > 15)
        assert child.is_running()
        process.send_signal(signal.SIGINT)
        done = end(process)
        assert done.status == 130
        assert "going on without it" not in done.err
        again = saefetch(tmp_path, "download", "--source", "export", "--num-features", "300", standin=standin)
    assert again.status == 0
    assert features_only(features(tmp_path)) == undisturbed


def test_the_api_needs_no_parser_process(tmp_path: Path) -> None:
    with slow() as standin:
        process = start(
            tmp_path, "download", "--source", "feature", "--num-features", "300", "--concurrency", "1", standin=standin
        )
        wait_until(lambda: len(standin.requests) > 2)
        assert psutil.Process(process.pid).children() == []
        process.kill()
        end(process)
