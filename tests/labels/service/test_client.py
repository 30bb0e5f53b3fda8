"""What the client of the service says, hears, and makes of answers that are none of the service's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_service import FakeService, job, problem

from saefetch.errors import (
    BadAnswerError,
    RefusedError,
    RequestRejectedError,
    SaefetchError,
    ServerError,
    UnreachableError,
    UsageError,
)
from saefetch.service.client import Client, Event, parse_events, read_token

TOKEN = "very-secret-token"


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService(job(1, "failed"), job(2, "running", 10)) as service:
        yield service


def ask(service: FakeService, work: Callable[[Client], Awaitable[Any]], token: str | None = None) -> Any:
    async def main() -> Any:
        async with Client(service.url, token) as client:
            return await work(client)

    return asyncio.run(main())


def test_a_wish_is_posted_as_json_with_the_token(service: FakeService) -> None:
    jobs, is_new = ask(service, lambda client: client.add({"sae_id": "layer_*"}), TOKEN)
    assert [each["id"] for each in jobs] == ["3"] and is_new
    (asked,) = service.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/jobs", {"sae_id": "layer_*"})
    assert asked.headers["content-type"] == "application/json" and asked.headers["authorization"] == f"Bearer {TOKEN}"


def test_every_change_of_state_says_that_it_is_json_and_carries_no_origin(service: FakeService) -> None:
    ask(service, lambda client: client.retry("1"))
    ask(service, lambda client: client.cancel("2"))
    assert [(asked.method, asked.path) for asked in service.asked] == [
        ("POST", "/v1/jobs/1/retry"),
        ("DELETE", "/v1/jobs/2"),
    ]
    for asked in service.asked:
        assert asked.headers["content-type"] == "application/json" and "origin" not in asked.headers
        assert "authorization" not in asked.headers


def test_a_list_is_followed_by_its_cursor_up_to_the_limit() -> None:
    with FakeService(*(job(number) for number in range(1, 2502))) as service:
        some, more = ask(service, lambda client: client.jobs(limit=1500))
        assert (len(some), more) == (1500, True) and [asked.path for asked in service.asked] == [
            "/v1/jobs?limit=1000",
            "/v1/jobs?limit=500&cursor=1000",
        ]
        every, more = ask(service, lambda client: client.jobs("queued", limit=9000))
        assert (len({each["id"] for each in every}), more) == (2501, False)


def test_an_id_cannot_leave_its_place_in_the_address(service: FakeService) -> None:
    with pytest.raises(UsageError, match="there is no job"):
        ask(service, lambda client: client.job("../saes?x=#"))
    assert service.asked[0].path == "/v1/jobs/..%2Fsaes%3Fx=%23"


def test_no_redirect_is_followed_so_the_token_stays_with_its_origin(service: FakeService) -> None:
    with FakeService() as other:
        service.answer = lambda request: web.Response(status=307, headers={"Location": f"{other.url}/v1/jobs/1"})
        with pytest.raises(RequestRejectedError, match=r"leads to 'http://127.*name it as --url") as refused:
            ask(service, lambda client: client.job("1"), TOKEN)
        assert not other.asked and TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "error", "says", "status"),
    [
        (problem(401, "a token is needed"), RefusedError, "a token is needed; name the file of its token", 3),
        (problem(403, "a foreign origin"), RefusedError, "a foreign origin", 3),
        (problem(422, "no SAE is called x"), UsageError, "no SAE is called x", 2),
        (problem(409, "job 7 has\nother options"), RequestRejectedError, "job 7 has other options", 1),
        (problem(503, "it is being stopped"), ServerError, "it is being stopped", 1),
        (web.Response(status=502, text="<h1>Bad gateway</h1>"), ServerError, "502 Bad Gateway", 1),
        (web.Response(status=404, text="<h1>Not found</h1>"), BadAnswerError, "does not answer as saefetch's", 1),
        (web.Response(text="hello"), BadAnswerError, "is --url right", 1),
        (web.json_response([]), BadAnswerError, "is --url right", 1),
        (web.json_response({"id": 7, "state": "done"}), BadAnswerError, "is --url right", 1),
    ],
)
def test_an_answer_that_is_no_job_is_one_line(
    service: FakeService, answer: web.Response, error: type[SaefetchError], says: str, status: int
) -> None:
    service.answer = lambda request: answer
    with pytest.raises(error) as refused:
        ask(service, lambda client: client.job("1"), TOKEN)
    text = str(refused.value)
    assert says in text and "\n" not in text and TOKEN not in text and refused.value.exit_status == status


def test_where_no_service_is_the_line_says_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    async def main() -> None:
        async with Client(f"http://127.0.0.1:{port}") as client:
            await client.job("1")

    with pytest.raises(
        UnreachableError, match=rf"no service at http://127.0.0.1:{port}: .*`saefetch serve` starts one"
    ):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8764", "expected an address such as http://127.0.0.1:8764"),
        ("ftp://a", "expected an address"),
        ("http://a:0", "expected an address"),
        ("http://a:x", "expected an address"),
        ("http://a/?token=x", "expected an address"),
        ("http://a b", "expected an address"),
        ("http://me:hidden@a", "user names and passwords"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        Client(url)
    assert "hidden" not in str(refused.value)


def test_the_token_comes_from_its_file_or_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAEFETCH_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("SAEFETCH_TOKEN", "from-environment\n")
    assert read_token(None) == "from-environment"
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN, "the file that is named wins"
    for text in ("", "\n", f"two {TOKEN}", f"{TOKEN}\n{TOKEN}", "é" + TOKEN, "\x1b[0m"):
        path.write_text(text)
        with pytest.raises(UsageError, match="holds no token") as refused:
            read_token(path)
        assert TOKEN not in str(refused.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="holds no text"):
        read_token(path)
    with pytest.raises(UsageError, match="No such file"):
        read_token(tmp_path / "nowhere")


def test_events_are_read_as_the_standard_says() -> None:
    text = (
        b": comment\n\nid: 1\nevent: job\ndata: a\ndata:  b\n\r\nid:2\r\ndata:c\r\n\r\nevent: reset\n\nid: 3\ndata: cut"
    )

    async def lines() -> AsyncIterator[bytes]:
        for line in text.splitlines(keepends=True):
            yield line

    async def read() -> list[tuple[str, str, str]]:
        return [event async for event in parse_events(lines())]

    assert asyncio.run(read()) == [("1", "job", "a\n b"), ("2", "message", "c"), ("2", "reset", "")]


def test_events_resume_after_the_last_one_that_was_heard(service: FakeService) -> None:
    service.tell(job(2, "running", 20), job(2, "running", 30), job(2, "done"))
    service.events.insert(1, ("reset", None))

    async def hear(client: Client) -> list[Event]:
        async with client.events("1") as events:
            return [await anext(events) for _ in range(3)]

    found = ask(service, hear, TOKEN)
    assert [(event.id, event.kind) for event in found] == [("2", "reset"), ("3", "job"), ("4", "job")]
    assert found[0].job is None and [event.job["done"] for event in found[1:]] == [30, 1000]
    headers = service.asked[0].headers
    assert headers["last-event-id"] == "1" and headers["authorization"] == f"Bearer {TOKEN}"


def test_a_stream_that_is_none_is_said(service: FakeService) -> None:
    service.answer = lambda request: web.json_response({})

    async def hear(client: Client) -> None:
        async with client.events():
            raise AssertionError("nothing is to be heard here")

    with pytest.raises(BadAnswerError):
        ask(service, hear)
