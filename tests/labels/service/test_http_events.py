"""Server-sent events: ids that resume, heartbeats, and an end for those whose client is gone."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from service_server import Served

from saefetch.service.http.events import render
from saefetch.service.service import Service
from saefetch.service.shapes import Event

JOB = {"sae_release": "gemma-scope-2b-pt-res-canonical", "sae_id": "layer_16/width_16k/canonical", "num_features": 9}


class Counting(Service):
    """Counts the streams that are open, and feeds events by hand where there are any."""

    n_open = 0

    async def events(self, last_id: int | None = None) -> AsyncIterator[Event]:
        self.n_open += 1
        try:
            async for event in super().events(last_id):
                yield event
        finally:
            self.n_open -= 1


def listen(served: Served, last_id: str | None = None) -> Any:
    connection = served.connect()
    connection.request("GET", "/v1/events", headers={"Last-Event-ID": last_id} if last_id is not None else {})
    response = connection.getresponse()
    assert response.status == 200 and response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Request-Id"] and response.headers["Cache-Control"] == "no-store"
    return response


def events(response: Any, until: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Read events until a job has this state."""
    found = []
    lines: list[str] = []
    while line := response.readline().decode():
        if line != "\n":
            lines.append(line.removesuffix("\n"))
            continue
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        lines = []
        if "data" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
            if found[-1][2].get("state") == until:
                return found
    raise AssertionError(f"the stream ended: {found}")


def test_every_change_is_told_and_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", max_attempts=1) as served:
        stream = listen(served)
        assert stream.readline() == b"retry: 2000\n"
        job = served.ask("POST", "/v1/jobs", JOB).json["jobs"][0]
        told = events(stream, "failed")
        assert {kind for _, kind, _ in told} == {"job"} and {data["id"] for _, _, data in told} == {job["id"]}
        assert [data["state"] for _, _, data in told][:2] == ["queued", "running"]
        assert told[-1][2] == served.get(f"/v1/jobs/{job['id']}")
        ids = [number for number, _, _ in told]
        assert ids == sorted(set(ids))
        assert events(listen(served, str(ids[0])), "failed") == told[1:]
        assert events(listen(served, str(ids[-2])), "failed") == told[-1:]
        lost = events(listen(served, str(ids[-1] + 1000)), "failed")
        assert [kind for _, kind, _ in lost] == ["reset", "job"] and lost[0][2] == {} and lost[1][2] == told[-1][2]
        for bad in ("x", "-1", "1.5", "9" * 30):
            assert served.ask("GET", "/v1/events", Last_Event_ID=bad).problem["parameter"] == "Last-Event-ID"


def test_a_silent_stream_has_a_heart_that_beats(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", heartbeat_s=0.02) as served:
        stream = listen(served)
        assert [stream.readline() for _ in range(8)] == [b"retry: 2000\n", b"\n"] + [b":\n", b"\n"] * 3


def test_a_client_that_goes_away_ends_its_stream(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", make_service=Counting, heartbeat_s=3600) as served:
        connections = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
            connection.sendall(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode())
            assert connection.recv(1 << 16)
            connections.append(connection)

        async def n_open_is(n: int) -> None:
            while served.service.n_open != n:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

        served.within(n_open_is(20))
        for connection in connections[5:]:
            connection.close()
        served.within(n_open_is(5))
        for connection in connections[:5]:
            connection.close()
        served.within(n_open_is(0))


def test_the_end_of_the_service_ends_its_streams(tmp_path: Path) -> None:
    with Served(tmp_path / "sae") as served:
        stream = listen(served)
    assert stream.read() == b"retry: 2000\n\n"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\u2028", "data: x\n\nid: 7"])
def test_no_text_ends_an_event_early(text: str) -> None:
    event: Any = {"id": 7, "kind": "job", "data": {"error": text}}
    lines = render(event).decode().split("\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""] and "\r" not in str(lines)
    assert json.loads(lines[2].removeprefix("data: ")) == {"error": text}
