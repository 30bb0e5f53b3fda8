"""The service's own routes, from a request to what is here: jobs, SAEs, registry, search, features, probes."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import RELEASE, SAE_ID, make_world
from service_server import DOCUMENT, Served

from saefetch import open_labels
from saefetch.service.http.table import TABLE
from saefetch.service.service import Service
from standin import Fault, NoAnswer, Standin

N, MISSING = 120, (13, 77)
FOLDER = SAE_ID.replace("/", "_")
BODY = {"sae_release": RELEASE, "sae_id": SAE_ID, "num_features": N}


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with Standin(make_world(N, missing=MISSING)) as standin:
        yield standin


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "sae"


@pytest.fixture(scope="module")
def served(standin: Standin, data_dir: Path) -> Iterator[Served]:
    with Served(data_dir, standin) as served:
        assert served.ask("POST", "/v1/jobs", BODY).status == 202
        done(served, "1")
        yield served


def done(served: Served, job_id: str) -> None:
    """Wait until a job has ended."""

    async def wait() -> None:
        async for _ in served.service.events(0):
            if served.service.job(job_id)["ended_at"]:
                return

    served.within(wait())


def test_a_job_is_asked_for_once(standin: Standin, tmp_path: Path) -> None:
    standin.faults[:] = [Fault(NoAnswer(), times=None)]
    with Served(tmp_path / "sae", standin) as served:
        first = served.ask("POST", "/v1/jobs", BODY)
        assert first.status == 202 and first.headers["Location"] == "/v1/jobs/1"
        again = served.ask("POST", "/v1/jobs", BODY)
        assert again.status == 200 and [job["id"] for job in again.json["jobs"]] == ["1"]
        other = served.ask("POST", "/v1/jobs", BODY | {"source": "batch"})
        assert other.status == 409 and other.problem["job_id"] == "1"
        assert served.ask("POST", "/v1/jobs/1/retry", {}).status == 409
        assert served.ask("DELETE", "/v1/jobs/1").json["state"] == "cancelled"
        assert served.ask("DELETE", "/v1/jobs/1").status == 409
        again = served.ask("POST", "/v1/jobs/1/retry", {})
        assert again.status == 200 and again.json["id"] == "1" and again.json["state"] in ("queued", "running")
    standin.faults.clear()


def test_jobs_are_paged(served: Served) -> None:
    page = served.get("/v1/jobs?state=done&limit=1")
    assert [job["id"] for job in page["jobs"]] == ["1"] and page["next"] is None
    assert served.get("/v1/jobs/1") == page["jobs"][0]


def test_what_is_here_is_told(served: Served) -> None:
    (sae,) = served.get("/v1/saes")["saes"]
    described = sae.pop("with_descriptions")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", sae.pop("downloaded_at")) and 100 < described < N
    assert sae == {
        "sae_release": RELEASE,
        "sae_id": SAE_ID,
        "neuronpedia_id": "gemma-2-2b/16-gemmascope-res-16k",
        "num_features": N,
        "successful": N - len(MISSING),
        "missing": len(MISSING),
        "failed": 0,
        "state": "complete",
    }
    assert served.get("/v1/jobs/1")["with_descriptions"] == described


def test_what_can_be_had_is_told(served: Served) -> None:
    found = served.get("/v1/registry?q=gemma-scope-2b-pt-res-canonical+layer_16%2Fwidth_16k")["saes"]
    assert {"sae_release": RELEASE, "sae_id": SAE_ID}.items() <= found[0].items() and found[0]["num_features"] == 16384
    assert len(served.get("/v1/registry")["saes"]) > 2000 and served.get("/v1/registry?q=no-such-sae")["saes"] == []


def test_labels_are_searched_as_by_the_command(served: Served, data_dir: Path) -> None:
    with open_labels(data_dir, RELEASE, SAE_ID) as labels:
        expected = [(hit.index, hit.description) for hit in labels.search("about", 5)]
    for more in ("", f"&sae={RELEASE}/{FOLDER}"):
        hits = served.get(f"/v1/search?q=about&limit=5{more}")["hits"]
        assert [(hit["index"], hit["description"]) for hit in hits] == expected and expected
        assert {hit["sae"] for hit in hits} == {f"{RELEASE}/{FOLDER}"}


def test_a_store_that_is_just_being_made_is_in_nobodys_way(served: Served, data_dir: Path) -> None:
    folder = data_dir / "release" / "id"
    folder.mkdir(parents=True)
    (folder / "labels.sqlite").touch()
    assert served.get("/v1/search?q=about&limit=1")["hits"]
    assert [sae["state"] for sae in served.get("/v1/saes")["saes"]] == ["complete", "partial"]
    assert served.ask("GET", "/api/feature/x/y/0").status == 404
    shutil.rmtree(folder.parent)


def test_a_feature_says_what_the_published_file_says(served: Served, data_dir: Path) -> None:
    features = json.loads((data_dir / RELEASE / FOLDER / "feature_labels.json").read_bytes())["features"]
    for index in (0, 7, MISSING[0], N - 1):
        answer = served.get(f"/v1/saes/{RELEASE}/{FOLDER}/features/{index}")
        assert answer.pop("index") == index and answer == features[str(index)]
    answer = served.ask("GET", f"/v1/saes/{RELEASE}/{FOLDER}/features/{N}")
    assert answer.status == 404 and "not among the 120" in answer.problem["detail"]


def test_head_is_get_without_a_body(served: Served) -> None:
    for target in ("/v1/jobs", "/healthz", "/api/feature/gemma-2-2b/16-gemmascope-res-16k/7"):
        whole, head = served.ask("GET", target), served.ask("HEAD", target)
        assert head.status == 200 and head.body == b"" and head.headers["Content-Length"] == str(len(whole.body))


def test_the_probes_say_how_it_is(served: Served) -> None:
    assert served.get("/healthz?verbose") == {"status": "ok"}
    assert served.get("/readyz") == {"ready": True, "store": "ok", "upstream": "ok"}


def test_a_service_that_cannot_work_is_not_ready(tmp_path: Path) -> None:
    class Paused(Service):
        def is_ready(self) -> tuple[str, str]:
            return "ok", "asks to wait for 60 s more"

    with Served(tmp_path / "sae", make_service=Paused) as served:
        answer = served.ask("GET", "/readyz")
    assert answer.status == 503 and answer.json["ready"] is False


SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="([a-z0-9]+)"\})? ([0-9.e+-]+)')


def test_metrics_are_prometheus_text(served: Served) -> None:
    answer = served.ask("GET", "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    told: dict[str, str] = {}
    values: dict[str, float] = {}
    for line in answer.body.decode().removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in told and kind in ("counter", "gauge")
            assert (kind == "counter") == name.endswith("_total")
        elif line.startswith("# HELP "):
            name, told[name] = line.split(" ")[2], line
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match[1] == name, line
            values[line.split(" ")[0]] = float(match[4])
    assert values['saefetch_jobs{state="done"}'] == 1 and values['saefetch_jobs{state="failed"}'] == 0
    assert values['saefetch_features{state="missing"}'] == len(MISSING)
    assert values["saefetch_upstream_requests_total"] > 2 and values["saefetch_upstream_received_bytes_total"] > 1000
    assert values["saefetch_upstream_limiter_wait_seconds_total"] >= 0 and values["saefetch_idle_seconds"] >= 0
    assert values["saefetch_upstream_rate_limited_total"] == 0


def test_the_document_is_openapi_of_every_route(served: Served) -> None:
    document = served.get("/openapi.json")
    assert document == DOCUMENT and document["openapi"] == "3.1.0"
    declared = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert declared == {(route.method, route.path) for route in TABLE}
    served_routes = {
        (route.method, route.resource.canonical)
        for route in served.app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    assert declared == served_routes
    for path, operations in document["paths"].items():
        for operation in operations.values():
            in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))


def test_without_the_mirror_its_addresses_are_not_there(tmp_path: Path) -> None:
    with Served(tmp_path / "sae", mirror=False) as served:
        assert "/api/features" not in str(served.get("/openapi.json"))
        assert not any("/api/" in resource.canonical for resource in served.app.router.resources())
