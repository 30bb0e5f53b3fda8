"""Whatever is wrong with a request, the answer is a problem document that says what."""

import gzip
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_server import Answer, Served

from saefetch.service.service import Service

JOB = {"sae_release": "gemma-scope-2b-pt-res-canonical", "sae_id": "layer_16/width_16k/canonical"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("service") / "sae") as served:
        yield served


def raw(served: Served, request: bytes) -> Answer:
    """Send bytes that need not be HTTP; return the answer, after which the server has to close the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(request)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split()[1]), headers, body)


@pytest.mark.parametrize(
    ("method", "target", "status", "says"),
    [
        ("GET", "/", 404, "openapi.json"),
        ("GET", "/v1/jobs/", 404, "openapi.json"),
        ("GET", "/v1/jobs/999", 404, "no job '999'"),
        ("GET", "/v1/jobs/..%2f..%2fetc", 404, "id: '../../etc'"),
        ("GET", "/v1/jobs/%00", 404, "id: '\\x00'"),
        ("GET", "/v1/jobs/" + "9" * 65, 404, "id: "),
        ("GET", "/v1/jobs?state=dead", 422, "one of queued, running, done, failed, cancelled"),
        ("GET", "/v1/jobs?limit=0", 422, "limit: '0': expected a whole number from 1 to 1000"),
        ("GET", "/v1/jobs?limit=1001", 422, "limit: '1001'"),
        ("GET", "/v1/jobs?limit=%D9%A3", 422, "limit: '٣'"),
        ("GET", "/v1/jobs?limit=1&limit=2", 422, "limit: expected once"),
        ("GET", "/v1/jobs?cursor=x", 422, "cursor: 'x'"),
        ("GET", "/v1/jobs?cursor=%2e%2e", 422, "cursor: '..'"),
        ("GET", "/v1/jobs?stat=done", 422, "unknown parameter 'stat'; there are cursor, limit, state"),
        ("GET", "/v1/saes?x", 422, "there are none here"),
        ("GET", "/v1/search", 422, "q: expected, but not there"),
        ("GET", "/v1/search?q=.", 422, "nothing to search for"),
        ("GET", "/v1/search?q=a%00b", 422, "q: "),
        ("GET", "/v1/search?q=" + "x" * 1001, 422, "q: "),
        ("GET", "/v1/search?q=x&sae=a/b/c", 422, "sae: 'a/b/c'"),
        ("GET", "/v1/search?q=x&sae=../etc", 422, "sae: '../etc'"),
        ("GET", "/v1/search?q=x&sae=a/b..c", 422, "sae: "),
        ("GET", "/v1/search?q=x&sae=a/b", 404, "no labels of a/b are here"),
        ("GET", "/v1/saes/a/b/features/1", 404, "no labels of a/b are here"),
        ("GET", "/v1/saes/..%2f../b/features/1", 404, "release: '../..'"),
        ("GET", "/v1/saes/%2e%2e/b/features/1", 404, "release: '..'"),
        ("GET", "/v1/saes/a/b%ff/features/1", 404, "folder: "),
        ("GET", "/v1/saes/a/b/features/007", 404, "index: '007'"),
        ("GET", "/v1/saes/a/b/features/99999999999999999999", 404, "index: "),
        ("DELETE", "/v1/jobs/999", 404, "no job '999'"),
        ("PUT", "/v1/jobs", 405, "Allow"),
        ("OPTIONS", "/v1/jobs", 405, "Allow"),
        ("POST", "/healthz", 405, "Allow"),
        ("GET", "/api/explanation/export?modelId=x", 422, "saeId: expected"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    served: Served, method: str, target: str, status: int, says: str
) -> None:
    answer = served.ask(method, target)
    assert answer.status == status and says in answer.problem["detail"]
    assert answer.problem["instance"] == target.split("?")[0].replace("%2e%2e/", "") or "%" in target


def test_a_405_names_the_methods_there_are(served: Served) -> None:
    assert served.ask("PUT", "/v1/jobs").headers["Allow"] == "GET,HEAD,POST"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"sae": "x"}, 422, "unknown key 'sae'"),
        ({"refresh": 1}, 422, "refresh"),
        ({"num_features": "7"}, 422, "num_features"),
        ({"num_features": 10**30}, 422, "num_features"),
        ({"source": "moon"}, 422, "source 'moon'"),
        ({"sae_release": "no-such", "sae_id": "x"}, 422, "no-such"),
        ({"sae_release": "../..", "sae_id": "x"}, 422, "not a valid name"),
        ({**JOB, "sae_id": "layer_99*"}, 422, "layer_99"),
        ({**JOB, "sae_id": "layer_*", "neuronpedia_id": "a/b"}, 422, "pattern"),
        ([], 422, "JSON object"),
        (7, 422, "JSON object"),
        (b"{", 415, "not JSON"),
        (b'{"a": NaN}', 415, "not JSON"),
        (b'"\xff"', 415, "not JSON"),
        (b'{"sae_id": "\\ud800"}', 415, "not JSON"),
        (b"", 415, "empty"),
        (b"[" * 60_000, 415, "not JSON"),
        (b" " * (64 << 10) + b"{}", 413, "over 64 kB"),
    ],
)
def test_a_job_that_cannot_be_is_refused_at_once(served: Served, body: Any, status: int, says: str) -> None:
    answer = served.ask("POST", "/v1/jobs", body, Content_Type="application/json")
    assert answer.status == status and says in answer.problem["detail"], answer.body
    assert served.get("/v1/jobs") == {"jobs": [], "next": None}


def test_a_retry_takes_no_options(served: Served) -> None:
    assert served.ask("POST", "/v1/jobs/1/retry", {"source": "auto"}).status == 422
    assert served.ask("POST", "/v1/jobs/1/retry", b"", Content_Type="application/json").status == 404


def test_a_body_without_a_length_is_cut_off_at_the_limit(served: Served) -> None:
    piece = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n".encode()
    answer = raw(served, head + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 3)
    assert answer.status == 413 and answer.problem["title"]


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", body_s=0.05) as served:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
        answer = raw(served, head.encode() + b"Content-Length: 9\r\n\r\n{")
    assert answer.status == 408 and "within 0.05 s" in answer.problem["detail"]


def test_a_body_is_not_unpacked(served: Served) -> None:
    packed = gzip.compress(b"[" + b" " * (32 << 20) + b"]")
    assert len(packed) < 64 << 10
    for target in ("/v1/jobs", "/api/features"):
        answer = served.ask("POST", target, packed, Content_Type="application/json", Content_Encoding="gzip")
        assert answer.status == 415 and "Content-Encoding" in answer.problem["detail"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nExpect: miracles\r\nConnection: close\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_in_the_same_form(served: Served, request_: bytes, status: int) -> None:
    answer = raw(served, request_.replace(b"%d", str(served.port).encode()))
    assert answer.status == status and answer.problem["detail"]
    assert answer.headers["X-Request-Id"] and answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_connection_too_many_is_told_so(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", runner={"max_connections": 3}) as served:
        held = [served.connect() for _ in range(3)]
        for connection in held:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as fourth:
            head, _, body = fourth.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 5" in head
        assert json.loads(body)["detail"] == "too many connections are open; ask again later"
        held[0].request("GET", "/healthz")
        assert held[0].getresponse().status == 200
        for connection in held:
            connection.close()


def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", runner={"first_request_s": 0.05}) as served:
        for start in (b"", b"GET / HTTP/1.1\r\nHost: "):
            with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
                connection.sendall(start)
                assert connection.recv(1 << 16) == b""


def test_a_bug_says_nothing_of_the_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a secret of the inside")

    class Broken(Service):
        jobs = broken  # type: ignore[assignment]

    with Served(tmp_path / "sae", make_service=Broken) as served:
        answer = served.ask("GET", "/v1/jobs?state=done")
    assert answer.status == 500 and b"inside" not in answer.body and b"ValueError" not in answer.body
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "a secret of the inside" in caplog.text
    assert vars(record)["request_id"] == answer.headers["X-Request-Id"]


def test_a_damaged_store_is_an_error_and_not_an_absence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "sae" / "release" / "id"
    folder.mkdir(parents=True)
    sqlite3.connect(folder / "labels.sqlite").execute("CREATE TABLE somebody_elses (x)").connection.close()
    with Served(tmp_path / "sae") as served:
        for target in (
            "/v1/saes/release/id/features/0",
            "/v1/search?q=x",
            "/api/feature/m/0-s/0",
            "/api/explanation/export?modelId=m&saeId=0-s",
        ):
            answer = served.ask("GET", target)
            assert answer.status == 503 and answer.headers["Retry-After"], target
            assert str(tmp_path) not in answer.body.decode()
    assert "not one of saefetch's" in caplog.text


def test_each_request_has_an_id_and_a_line_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "saefetch.service"):
        given_id = served.ask("GET", "/v1/jobs?limit=7", X_Request_Id="abc-1.2_3").headers["X-Request-Id"]
        ids = {served.ask("GET", "/healthz", X_Request_Id=bad).headers["X-Request-Id"] for bad in ("a b", "x" * 65, "")}
    assert given_id == "abc-1.2_3" and len(ids) == 3 and all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", i) for i in ids)
    line = next(record for record in caplog.records if vars(record).get("request_id") == given_id)
    assert line.getMessage() == "GET /v1/jobs 200" and vars(line)["status"] == 200 and vars(line)["ms"] >= 0
    assert "limit=7" not in caplog.text
