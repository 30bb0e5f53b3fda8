"""`sae-dashboard --jobs`: the service's routes behind the dashboard's guard; and without the flag, none of them."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import wait_until
from dashboard_data import write_features, write_labels
from dashboard_server import Answer, Dashboard, settings_for
from harness import RELEASE, make_world
from harness import settings_for as download_settings
from test_dashboard_guard import check_headers

from dashboard.cli.app import app
from dashboard.errors import DashboardError
from dashboard.model.data import Data
from dashboard.server.guard import Guard
from dashboard.server.proxy import Proxy
from dashboard.server.serve import make_app
from saefetch.errors import LockedError
from saefetch.files.lock import lock_folder
from saefetch.service.client import Client
from saefetch.service.service import Service
from saefetch.terminal.program import run_app
from standin import Standin

JSON = "application/json"


def mounted(folder: Path, standin: Standin | None = None, **knobs: Any) -> Dashboard:
    nowhere = "http://127.0.0.1:9"
    urls = (standin.api_url, standin.export_url) if standin else (nowhere, nowhere)
    service = Service(download_settings(*urls, folder / "sae"))
    return Dashboard(Data(settings_for(folder, jobs=True)), service=service, **knobs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs")
    write_labels(path / "sae")
    write_features(path / "features")
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Dashboard]:
    with mounted(folder) as dashboard:
        yield dashboard


def post(dashboard: Dashboard, where: str = "/v1/jobs", **headers: str) -> Answer:
    return dashboard.ask(where, "POST", b"{}", **{"Content_Type": JSON, **headers})


def test_without_the_flag_no_route_changes_anything(folder: Path) -> None:
    app = make_app(Data(settings_for(folder)), Guard("127.0.0.1", Proxy(base_path="/prefix"), str))
    assert {route.method for route in app.router.routes()} == {"GET", "HEAD"}
    paths = [resource.canonical for resource in app.router.resources()]
    assert len(paths) > 10 and not any("/v1" in path for path in paths)
    with Dashboard(Data(settings_for(folder))) as dashboard:
        assert dashboard.api("summary")["jobs"] is False
        assert dashboard.ask("/v1/jobs").status == 404
        for method, where in (("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/1"), ("POST", "/v1/jobs/1/retry")):
            answer = dashboard.ask(where, method, b"{}", Content_Type=JSON)
            assert answer.status == 405 and "only reads" in answer.error


def test_labels_are_fetched_and_then_shown(tmp_path: Path) -> None:
    with Standin(make_world(300), lean=True) as standin, mounted(tmp_path, standin) as dashboard:
        assert dashboard.api("summary")["jobs"] is True and dashboard.api("summary")["labels"] is None
        wish = {"sae_release": RELEASE, "sae_id": "layer_16/width_16k/canonical", "num_features": 300}
        origin = f"http://127.0.0.1:{dashboard.port}"
        answer = dashboard.ask("/v1/jobs", "POST", json.dumps(wish).encode(), Content_Type=JSON, Origin=origin)
        assert answer.status == 202 and [job["state"] for job in answer.json["jobs"]] == ["queued"]
        check_headers(answer)
        connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=60)
        connection.request("GET", "/v1/events", headers={"Last-Event-ID": "0"})
        stream = connection.getresponse()
        assert stream.getheader("Content-Type") == "text/event-stream" and stream.getheader("X-Frame-Options") == "DENY"
        while b'"state":"done"' not in stream.readline():
            assert not stream.isclosed()
        connection.close()
        assert dashboard.api("summary")["labels"]["n_features"] == 300
        assert dashboard.ask("/v1/saes").json["saes"][0]["state"] == "complete"


def test_a_page_of_another_site_changes_nothing(served: Dashboard) -> None:
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{served.port + 1}", "http://localhost"):
        answer = post(served, Origin=origin)
        assert answer.status == 403, origin
        check_headers(answer)
        assert served.ask("/v1/jobs/1", "DELETE", Origin=origin).status == 403
    assert post(served, Content_Type="text/plain").status == 415
    assert post(served, Host="evil.example").status == 421
    assert served.ask("/v1/jobs", "OPTIONS", Origin="https://evil.example").status == 405
    assert served.ask("/v1/jobs").json == {"jobs": [], "next": None}


def test_all_else_only_reads_and_the_mirror_is_not_there(served: Dashboard) -> None:
    for where in ("/", "/api/summary", "/v1/registry", "/api/features", "/v2/jobs"):
        answer = post(served, where)
        assert answer.status == 405, where
        check_headers(answer)
    assert served.ask("/api/feature/gemma-2-2b/16-gemmascope-res-16k/1").status == 404
    assert served.ask("/healthz").status == 200
    problem = served.ask("/v1/jobs/99")
    assert problem.status == 404 and problem.headers["Content-Type"] == "application/problem+json"
    check_headers(problem)


def test_jobs_of_a_server_that_others_can_reach_want_its_token(folder: Path, tmp_path: Path) -> None:
    with mounted(tmp_path, host="0.0.0.0") as dashboard:
        for method, where in (("GET", "/v1/jobs"), ("GET", "/v1/events"), ("GET", "/healthz"), ("POST", "/v1/jobs")):
            assert dashboard.ask(where, method, b"{}", Content_Type=JSON).status == 401, where
        token = dashboard.address.split("token=")[1]
        cookie = dashboard.ask(f"/?token={token}").headers["Set-Cookie"].split(";")[0]
        assert dashboard.ask("/v1/jobs", Cookie=cookie).json["jobs"] == []
        assert post(dashboard, Cookie=cookie, Origin="https://evil.example").status == 403


def test_jobs_are_there_below_a_base_path_too(tmp_path: Path) -> None:
    with mounted(tmp_path, proxy=Proxy.of(["hub.example.org"], "/user/me/", None)) as dashboard:
        token = dashboard.address.split("token=")[1]
        cookie = dashboard.ask(f"/?token={token}").headers["Set-Cookie"].split(";")[0]
        for prefix in ("", "/user/me"):
            assert dashboard.ask(f"{prefix}/v1/jobs", Cookie=cookie, Host="hub.example.org").status == 200


def test_a_job_that_runs_when_the_dashboard_ends_goes_on_the_next_time(tmp_path: Path) -> None:
    with Standin(make_world(300), lean=True) as standin:
        slow = download_settings(
            standin.api_url, standin.export_url, tmp_path / "sae", source="feature", requests_per_second=20
        )
        data = Data(settings_for(tmp_path, jobs=True))
        with Dashboard(data, service=Service(slow)) as dashboard:
            wish = json.dumps({"sae_id": "layer_16/width_16k/canonical", "num_features": 300}).encode()
            assert dashboard.ask("/v1/jobs", "POST", wish, Content_Type=JSON).status == 202
            wait_until(lambda: bool(dashboard.ask("/v1/jobs?state=running").json["jobs"]))
        with Dashboard(data, service=Service(slow)) as dashboard:
            (job,) = dashboard.ask("/v1/jobs").json["jobs"]
            assert job["id"] == "1" and job["state"] in ("queued", "running")
            assert run_jobs_list(dashboard) == ["1"]


def run_jobs_list(dashboard: Dashboard) -> list[str]:
    """Ask as `saefetch jobs list --url` does."""

    async def main() -> list[str]:
        async with Client(dashboard.address) as client:
            return [job["id"] for job in (await client.jobs())[0]]

    return asyncio.run(main())


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["sae-dashboard", "--jobs", *arguments])
    run_app(app, "sae-dashboard", lambda command: None)


def test_another_service_of_the_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sae").mkdir()
    service = lock_folder(tmp_path / "sae", "is the service of this folder; stop it first")
    with service, pytest.raises(LockedError, match=f"pid {os.getpid()}") as refused:
        run(monkeypatch, tmp_path, "--port", "0")
    assert refused.value.exit_status == 4


def test_a_static_page_has_no_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DashboardError, match="--jobs needs a server"):
        run(monkeypatch, tmp_path, "--static", "out")
