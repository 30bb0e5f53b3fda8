"""Who may ask the service: Host, token and Origin, for every address."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_server import DOCUMENT, Served

from saefetch.errors import UsageError
from saefetch.service.http.guard import Guard, read_token

TOKEN = "a-token-of-4-tests"
EVERY = [(method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations]
PROBES = "/readyz", "/metrics"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("service") / "sae") as served:
        yield served


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("service") / "sae", token=TOKEN) as served:
        yield served


def target_of(path: str) -> str:
    return path.replace("{id}", "1").replace("{", "").replace("}", "")


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_loopbacks_names_are_served(served: Served, host: str) -> None:
    assert served.ask("GET", "/healthz", Host=f"{host}:{served.port}").status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:{}", "localhost.evil.example:{}", "127.0.0.1:1", "localhost", "", "10.0.0.1:{}", "a@localhost:{}"],
)
def test_a_name_that_leads_here_from_elsewhere_is_refused_everywhere(served: Served, host: str) -> None:
    for method, path in [*EVERY, ("GET", "/nothing"), ("PUT", "/v1/jobs")]:
        answer = served.ask(method, target_of(path), Host=host.format(served.port))
        assert answer.status == 421 and str(served.port) in answer.problem["detail"]


def test_with_a_token_everything_but_healthz_wants_it(guarded: Served) -> None:
    for method, path in [*EVERY, ("GET", "/nothing"), ("PUT", "/v1/jobs")]:
        answer = guarded.ask(method, target_of(path))
        if path == "/healthz":
            assert answer.status == 200
        else:
            assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer"), path
            assert ("Basic" in answer.headers["WWW-Authenticate"]) == (path in PROBES)
            assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize(
    ("headers", "target", "status"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, "/v1/jobs", 200),
        ({"Authorization": f"bearer {TOKEN}"}, "/v1/jobs", 200),
        ({"X_Api_Key": TOKEN}, "/v1/jobs", 200),
        ({"X_Api_Key": TOKEN, "Authorization": "Bearer wrong"}, "/v1/jobs", 200),
        ({"X_Api_Key": TOKEN, "Host": "any.example"}, "/v1/jobs", 200),
        ({"Authorization": TOKEN}, "/v1/jobs", 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, "/v1/jobs", 401),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, "/v1/jobs", 401),
        ({"Authorization": "Bearer é"}, "/v1/jobs", 401),
        ({"Authorization": "Bearer"}, "/v1/jobs", 401),
        ({"Authorization": basic(TOKEN)}, "/v1/jobs", 401),
        ({"Authorization": basic(TOKEN)}, "/readyz", 200),
        ({"Authorization": basic(TOKEN)}, "/metrics", 200),
        ({"Authorization": basic("wrong")}, "/metrics", 401),
        ({"Authorization": "Basic !!!"}, "/metrics", 401),
        ({}, f"/v1/jobs?token={TOKEN}", 401),
        ({"Cookie": f"token={TOKEN}"}, "/v1/jobs", 401),
    ],
)
def test_the_token_is_taken_from_where_it_belongs(
    guarded: Served, headers: dict[str, str], target: str, status: int
) -> None:
    assert guarded.ask("GET", target, **headers).status == status


def test_the_token_is_in_no_log_and_in_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with Served(tmp_path / "sae", token=TOKEN) as served:
        for target in ("/v1/jobs", f"/v1/jobs?token={TOKEN}", f"/metrics?token={TOKEN}", "/nothing"):
            for headers in ({"X_Api_Key": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer x"}):
                assert TOKEN.encode() not in served.ask("GET", target, **headers).body
        assert served.ask("POST", "/v1/jobs", {}, X_Api_Key=TOKEN).status == 202
    assert caplog.records and TOKEN not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(TOKEN.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "x", "http://["]
)
def test_a_page_of_another_site_changes_nothing(served: Served, origin: str) -> None:
    for method, path in EVERY:
        if method != "GET":
            answer = served.ask(method, target_of(path), {}, Origin=origin)
            assert answer.status == 403, (method, path)
    assert served.ask("GET", "/v1/jobs", Origin=origin).json == {"jobs": [], "next": None}


def test_a_page_of_the_services_own_may_ask(served: Served) -> None:
    answer = served.ask("DELETE", "/v1/jobs/1", Origin=served.url)
    assert answer.status == 404


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        ";0*",
        "application/json/x",
        "text/plain; application/json",
    ],
)
def test_what_a_form_can_send_changes_nothing(served: Served, kind: str) -> None:
    for target in ("/v1/jobs", "/v1/jobs/1/retry"):
        assert served.ask("POST", target, b"{}", Content_Type=kind).status == 415


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/json;0*"])
def test_json_is_what_says_so(served: Served, kind: str) -> None:
    assert served.ask("POST", "/v1/jobs", {"x": 1}, Content_Type=kind).status == 422


def test_without_a_token_only_loopback_is_allowed() -> None:
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(UsageError, match="--token-file"):
            Guard(host)
        Guard(host, TOKEN)


@pytest.mark.parametrize("text", [b"", b"\n", b"two words", b"two\nlines", "é".encode(), b"x" * 5000, b"\xff", b"a\0b"])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(text)
    with pytest.raises(UsageError, match="token-file") as caught:
        read_token(path)
    assert "words" not in str(caught.value) or b"words" not in text


def test_a_token_is_the_one_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(TOKEN.encode() + b"\r\n")
    assert read_token(path) == TOKEN
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path)
