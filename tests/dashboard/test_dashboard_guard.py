"""Who may ask, what for, and what every answer carries, whatever was asked."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from dashboard_data import write_features, write_labels, write_queue
from dashboard_server import Answer, Dashboard, settings_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.model.data import Data
from dashboard.server.guard import HEADERS
from dashboard.views.addresses import API
from saefetch.service.http.host import is_loopback


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard")
    write_labels(path / "sae")
    write_features(path / "features")
    write_queue(path / "queue")
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder, queue=folder / "queue"))) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def open_to_others(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder)), host="0.0.0.0") as dashboard:
        yield dashboard


def check_headers(answer: Answer) -> None:
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_answer_carries_the_headers_that_keep_others_out(served: Dashboard) -> None:
    for target in ("/", "/api/summary", "/api/nothing", "/api/rows/x", "/nothing", "/api/rows/1?x=1"):
        check_headers(served.ask(target))
    check_headers(served.ask("/", method="POST"))
    check_headers(served.ask("/", Host="evil.example"))
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_loopbacks_names_are_served(served: Dashboard, host: str) -> None:
    assert served.ask("/api/summary", Host=f"{host}:{served.port}").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{}",
        "localhost.evil.example:{}",
        "127.0.0.1:1",
        "127.0.0.1",
        "",
        "10.0.0.1:{}",
        "localhost:{}x",
        "a@localhost:{}",
    ],
)
def test_a_name_that_leads_here_from_elsewhere_is_refused(served: Dashboard, host: str) -> None:
    answer = served.ask("/api/summary", Host=host.format(served.port))
    assert answer.status == 421 and str(served.port) in answer.error


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_can_be_changed(served: Dashboard, method: str) -> None:
    answer = served.ask("/api/summary", method=method)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(served: Dashboard) -> None:
    whole, head = served.ask("/api/documents"), served.ask("/api/documents", method="HEAD")
    assert head.status == 200 and head.body == b""
    assert head.headers["ETag"] == whole.headers["ETag"] and head.headers["Content-Length"] == str(len(whole.body))


def test_what_the_browser_has_is_not_sent_again(served: Dashboard) -> None:
    first = served.ask("/api/documents")
    assert first.headers["Cache-Control"] == "no-cache"
    again = served.ask("/api/documents", If_None_Match=f'"x", {first.headers["ETag"]}')
    assert again.status == 304 and again.body == b"" and again.headers["ETag"] == first.headers["ETag"]
    check_headers(again)
    assert served.ask("/api/documents", If_None_Match='"x"').status == 200


def test_large_answers_are_compressed_for_those_who_can_take_it(served: Dashboard) -> None:
    plain = served.ask("/api/search?limit=500")
    zipped = served.ask("/api/search?limit=500", Accept_Encoding="br, gzip")
    assert zipped.headers["Content-Encoding"] == "gzip" and len(zipped.body) < len(plain.body) / 3
    assert zipped.json == plain.json and "Content-Encoding" not in plain.headers
    assert "Content-Encoding" not in served.ask("/api/rows/3", Accept_Encoding="gzip").headers


def test_a_server_that_others_can_reach_wants_the_token(open_to_others: Dashboard) -> None:
    name, token = open_to_others.address.split("?token=")
    assert len(token) >= 32
    for target in ("/", "/api/summary", "/?token=", "/?token=x", f"/?token={token}x", f"/?token={quote('é')}"):
        answer = open_to_others.ask(target)
        assert answer.status == 401 and token not in answer.error
        check_headers(answer)
    assert open_to_others.ask("/", Cookie=f"sae-dashboard-{open_to_others.port}={token}").status == 401
    answer = open_to_others.ask(f"/api/summary?token={token}")
    assert (answer.status, answer.headers["Location"]) == (303, "/api/summary")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; ")) and token not in cookie
    assert open_to_others.ask("/api/summary", Cookie=cookie.split(";")[0]).status == 200
    assert name.startswith("http://")


def test_the_token_leads_to_no_other_site(open_to_others: Dashboard) -> None:
    token = open_to_others.address.split("?token=")[1]
    assert open_to_others.ask(f"//evil.example/x?token={token}").headers["Location"] == "/evil.example/x"


def test_a_server_that_others_can_reach_has_addresses_and_its_own_names(open_to_others: Dashboard) -> None:
    for name in ("10.1.2.3", "[fe80::1]", socket.gethostname(), "localhost"):
        assert open_to_others.ask("/", Host=f"{name}:{open_to_others.port}").status == 401
    assert open_to_others.ask("/", Host=f"evil.example:{open_to_others.port}").status == 421


def test_loopback_is_what_only_this_machine_can_reach() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org")))


@pytest.mark.parametrize(
    "target",
    [
        "/../pyproject.toml",
        "/..%2f..%2fpyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/web/../guard.py",
        "/guard.py",
        "/%00",
        "/index.html%00.js",
        "/.",
        "/api/../guard.py",
        "/C:\\x",
        "/index.html/",
    ],
)
def test_no_path_of_a_request_reaches_the_file_system(served: Dashboard, target: str) -> None:
    answer = served.ask(target)
    assert answer.status == 404 and answer.error.startswith("there is nothing at /")


@pytest.mark.parametrize(
    ("path", "parameters", "status", "says"),
    [
        ("documents/7/tokens", {}, 404, "document 7 does not exist: there are 7"),
        ("documents/-1/tokens", {}, 404, "no such shard"),
        ("documents/0/tokens", {"colour": "feature:512"}, 404, "feature 512 does not exist"),
        ("documents/0/tokens", {"colour": "red"}, 400, "expected l0, top or feature:NUMBER"),
        ("documents/0/tokens", {"colour": "feature:²"}, 400, "expected l0, top or feature:NUMBER"),
        ("documents/0/tokens", {"start": 9, "stop": 3}, 400, "rising order"),
        ("documents/99/features", {}, 404, "document 99"),
        ("documents", {"limit": 1001}, 400, "limit '1001': expected a whole number from 0 to 1,000"),
        ("documents", {"offset": "-1"}, 400, "offset '-1'"),
        ("documents", {"offset": "٣"}, 400, "offset"),
        ("documents", {"query": "x" * 1001}, 400, "longer than 1,000"),
        ("rows/208", {}, 404, "row 208 does not exist: there are 208"),
        ("features/512", {}, 404, "feature 512"),
        ("features/0/top", {}, 409, "sae-encode index"),
        ("search", {"sort": "size"}, 400, "expected one of match"),
        ("search", {"sort": "here"}, 400, "goes with document"),
        ("search", {"order": "up"}, 400, "asc, desc"),
        ("search", {"document": 7}, 404, "document 7"),
        ("search", {"a": "0-7"}, 400, "there are 7, counted from 0"),
        ("search", {"a": "3-1"}, 400, "ends before it begins"),
        ("search", {"a": "x"}, 400, "such as 0-9,12"),
        ("search", {"a": "rest", "b": "rest"}, 400, "only one of them"),
        ("search", {"a": "0-6"}, 400, "nothing is left"),
        (
            "compare",
            {"a": "row:1"},
            400,
            "b '': expected doc:DOCUMENT, row:DOCUMENT@POSITION or row:NUMBER",
        ),
        ("compare", {"a": "row:999", "b": "doc:1"}, 404, "row 999"),
        ("compare", {"a": "doc:9", "b": "doc:1"}, 404, "document 9"),
        ("summary", {"x": 1}, 400, "unknown parameter 'x'; there are none here"),
        ("nothing", {}, 404, "there is nothing at /api/nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    served: Dashboard, path: str, parameters: dict[str, object], status: int, says: str
) -> None:
    got, error = served.refused(path, **parameters)
    assert got == status and says in error


NAMES = st.sampled_from(sorted({name for address in API for name in address.parameters} | {"token", "__proto__"}))
NUMBERS = st.one_of(st.integers(-2, 520), st.integers(), st.floats())
VALUES = st.one_of(
    NUMBERS.map(str),
    st.text(max_size=30),
    st.sampled_from(["feature:3", "row:1", "doc:2", "rest", "0-3", "1,2", "index", "desc", "top", '"', "*", "NEAR("]),
)
PATHS = st.one_of(
    st.builds(
        lambda address, value: address.replace("{}", value),
        st.sampled_from([address.path for address in API]),
        st.one_of(NUMBERS.map(str), st.text(max_size=10).map(lambda text: quote(text, safe=""))),
    ),
    st.text(max_size=20).map(quote),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, parameters=st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_whatever_is_asked_is_answered_or_refused_in_one_line(
    served: Dashboard, capfd: pytest.CaptureFixture[str], path: str, parameters: list[tuple[str, str]]
) -> None:
    query = urlencode([(name, value.encode("utf-8", "surrogatepass")) for name, value in parameters])
    answer = served.ask(f"/api/{path}?{query}")
    assert answer.status in (200, 400, 404, 409), answer.body
    assert isinstance(answer.json, dict) if answer.status == 200 else answer.error
    check_headers(answer)
    assert capfd.readouterr().err == ""


@settings(max_examples=150, deadline=None)
@given(line=st.binary(max_size=60).filter(lambda line: not re.match(rb"\s*\Z", line)))
def test_what_is_no_http_hurts_nobody(served: Dashboard, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=120) as connection:
        connection.sendall(b"GET /" + line + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert not re.match(rb"HTTP/1.1 5", answer) and b"Traceback" not in answer
