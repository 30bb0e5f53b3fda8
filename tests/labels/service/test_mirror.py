"""The mirror: Neuronpedia's read routes from local stores. What is "not yet" is never said to be "never"."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import MODEL, NEURONPEDIA_ID, SOURCE, download, make_world, plant, read_back, settings_for, target
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import ANSWERS
from service_server import Served

from saefetch.decode import N_TOKENS, Rows
from saefetch.downloading.run import run_jobs
from saefetch.errors import StoreError
from saefetch.files.lock import lock_folder
from saefetch.service.http.problems import Problem
from saefetch.service.mirror.asked import features_asked
from saefetch.service.mirror.routes import NOT_AVAILABLE
from saefetch.service.mirror.shelf import Shelf
from saefetch.store.answers import Answers, ExportObject
from saefetch.store.records import State
from saefetch.store.store import Store
from saefetch.terminal.progress import Display
from standin import Fault, Respond, Standin

N, MISSING = 150, (13, 77)
FEATURE = f"/api/feature/{NEURONPEDIA_ID}"
EXPORT = f"/api/explanation/export?modelId={MODEL}&saeId={SOURCE}"
AT = "2026-12-01T00:00:00Z"


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    world = make_world(N, missing=MISSING)
    plant(world, 5, " ", "", None)
    plant(world, 6, "a\u2028b", "\x01\x7f", "😀 <b>", max_act=0.0)
    with Standin(world) as standin:
        yield standin


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, standin: Standin) -> Path:
    path = tmp_path_factory.mktemp("mirror") / "sae"
    assert download(standin, path, "batch").status == 0
    return path


@pytest.fixture(scope="module")
def served(data_dir: Path) -> Iterator[Served]:
    with Served(data_dir) as served:
        yield served


def asked(*indices: object, **more: Any) -> list[dict[str, Any]]:
    return [{"modelId": MODEL, "layer": SOURCE, "index": index, "maxActsToReturn": 1} | more for index in indices]


def texts(feature: dict[str, Any]) -> set[tuple[str, str | None, str | None]]:
    return {(e["description"] or "", e["typeName"], e["explanationModelName"]) for e in feature["explanations"]}


def test_every_feature_is_as_neuronpedia_gives_it(served: Served, standin: Standin) -> None:
    for index in range(N):
        theirs = requests.get(f"{standin.api_url}{FEATURE}/{index}", timeout=60)
        answer = served.ask("GET", f"{FEATURE}/{index}")
        assert answer.status == theirs.status_code == (404 if index in MISSING else 200)
        if index in MISSING:
            assert answer.json["error"] == theirs.json()["error"] == NOT_AVAILABLE
            continue
        ours, real = answer.json, theirs.json()
        for name in set(ours) - {"explanations", "activations", "source"}:
            held = real[name][:N_TOKENS] if name.endswith("_str") else real[name]
            assert ours[name] == held, (index, name)
        assert set(ours) <= set(real) and ours["activations"] == []
        assert texts(ours) == texts(real)
        assert ours["source"]["saelensConfig"]["d_sae"] == N


def test_tokens_and_numbers_are_the_same_bytes(served: Served, standin: Standin) -> None:
    for index in (0, 7, 20):
        theirs = requests.get(f"{standin.api_url}{FEATURE}/{index}", timeout=60).content
        ours = served.ask("GET", f"{FEATURE}/{index}").body
        for name in (b'"pos_str":', b'"neg_str":', b'"maxActApprox":'):
            end = b"]" if b"str" in name else b","
            member = ours[ours.index(name) :].split(end)[0] + end
            assert member in theirs, name


def test_a_whole_number_is_written_as_neuronpedia_writes_it(served: Served) -> None:
    assert '"maxActApprox":0,' in ANSWERS["get_5_dead"]["body"]
    assert b'"maxActApprox":0,' in served.ask("GET", f"{FEATURE}/6").body


def test_many_features_are_as_neuronpedia_gives_them(served: Served, standin: Standin) -> None:
    body = asked(*range(N), 7, 7, "8", 9.0)
    answer = served.ask("POST", "/api/features", body)
    real = {f["index"]: f for f in requests.post(f"{standin.api_url}/api/features", json=body, timeout=60).json()}
    ours = {f["index"]: f for f in answer.json}
    assert answer.status == 200 and len(answer.json) == len(real) == N - len(MISSING) and set(ours) == set(real)
    assert "source" not in ours["7"] and all(texts(ours[index]) == texts(real[index]) for index in real)


def test_a_script_that_knows_no_content_type_is_answered(served: Served) -> None:
    answer = requests.post(f"{served.url}/api/features", data=json.dumps(asked(7)), timeout=60)
    assert answer.status_code == 200 and answer.json()[0]["index"] == "7"


def test_all_explanations_are_exported_as_they_once_were(served: Served, standin: Standin) -> None:
    answer = served.ask("GET", EXPORT)
    expected = {
        (str(f.index), e.description or "", e.type_name, e.model_name)
        for f in (standin.world.feature(MODEL, SOURCE, index) for index in range(N))
        if f
        for e in f.explanations
    }
    got = [(e["index"], e["description"], e["typeName"], e["explanationModelName"]) for e in answer.json]
    assert set(got) == expected and len(got) == len(expected) and any(not text.strip() for _, text, _, _ in got)
    assert list(answer.json[0]) == ["modelId", "layer", "index", "description", "typeName", "explanationModelName"]
    assert served.ask("HEAD", EXPORT).headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize(
    "index", ["007", "0.0", "-1", "1e3", "99999", "9" * 400, "%00", "x", "..%2f..%2f1", "%ed%a0%80"]
)
def test_what_no_feature_is_called_does_not_exist(served: Served, index: str) -> None:
    answer = served.ask("GET", f"{FEATURE}/{index}")
    assert answer.status == 404 and answer.json["error"] == NOT_AVAILABLE


def test_a_feature_beyond_a_width_that_the_registry_knows_better_may_exist(served: Served) -> None:
    assert served.ask("GET", f"{FEATURE}/{N}").status == 503
    assert served.ask("GET", f"{FEATURE}/16383").status == 503
    assert served.ask("GET", f"{FEATURE}/16384").status == 404


def test_an_index_of_any_size_is_one_that_may_not_exist(served: Served) -> None:
    for index in (-1, 10**12, 1 << 62, 1 << 63, "1e30", 1e300, "-7"):
        answer = served.ask("POST", "/api/features", asked(index))
        assert answer.status == 200 and answer.json == [], index


def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(served: Served) -> None:
    recorded = ANSWERS["get_trailing_slash"]
    connection = served.connect()
    connection.request("GET", f"{FEATURE}/0/?x=1")
    answer = connection.getresponse()
    assert answer.status == recorded["status"] == 308 and answer.headers["Location"] == f"{FEATURE}/0?x=1"
    assert recorded["headers"]["location"] == f"{FEATURE}/0"
    assert requests.get(f"{served.url}{FEATURE}/7/", timeout=60).json()["index"] == "7"
    assert served.ask("GET", "/v1/jobs/").status == served.ask("GET", "/api").status == 404


@pytest.mark.parametrize("name", ["gemma-2-2b/17-gemmascope-res-16k", "x/y", "..%2f..%2fetc/passwd", "%00/%00"])
def test_an_sae_that_is_not_here_is_not_available(served: Served, name: str) -> None:
    answer = served.ask("GET", f"/api/feature/{name}/0")
    assert answer.status == 404 and answer.json["error"] == NOT_AVAILABLE
    body = [*asked(7), {"modelId": "x", "layer": "y", "index": 1}]
    assert served.ask("POST", "/api/features", body).json["error"] == NOT_AVAILABLE
    assert served.ask("GET", "/api/explanation/export?modelId=x&saeId=y").json["error"] == NOT_AVAILABLE


def test_a_body_is_refused_in_neuronpedias_words(served: Served) -> None:
    for name in ("post_bad_second_element", "post_bad_index_float"):
        answer = served.ask("POST", "/api/features", json.loads(ANSWERS[name]["request_body"]))
        assert answer.status == ANSWERS[name]["status"] == 400
        assert answer.json["error"] == json.loads(ANSWERS[name]["body"])["message"]
    for body in ([], {}, 7, [7], asked(None), asked(True), asked("x"), asked(1, layer=7), asked(float("inf"))):
        assert served.ask("POST", "/api/features", body).status in (400, 415), body
    for index in ("1_0", "٣", "0x1", "nan", "inf", "1e999", ""):
        assert served.ask("POST", "/api/features", asked(index)).status == 400, index
    assert served.ask("POST", "/api/features", b"{not json").status == 415
    assert served.ask("POST", "/api/features", b" " * (2 << 20)).status == 413
    assert served.ask("POST", "/api/features", asked(*range(1500, 3000), layer="99-x")).status == 404


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["modelId", "layer", "index"]), inner),
    max_leaves=8,
)


@settings(max_examples=200)
@given(body=ANY)
def test_any_body_is_a_list_of_features_or_refused(body: Any) -> None:
    try:
        found = list(features_asked(body))
    except Problem as problem:
        assert problem.status == 400 and problem.members["error"]
    else:
        assert len(found) <= len(body) and all(index is None or index >= 0 for _, _, index in found)


@pytest.mark.parametrize("source", ["batch", "feature", "auto"])
def test_a_download_from_the_mirror_gives_the_same_labels(
    served: Served, data_dir: Path, tmp_path: Path, source: str
) -> None:
    of = target(N)
    knobs = settings_for(served.url, "http://127.0.0.1:9", tmp_path, source=source)
    (outcome,) = asyncio.run(run_jobs([of], knobs, Display()))
    there, here = read_back(outcome, of.folder(tmp_path)), read_back(outcome, of.folder(data_dir))
    assert outcome.exit_status == 0 and outcome.summary.missing == len(MISSING)
    assert there.features == here.features and there.labels["stats"] == here.labels["stats"]


# -- not yet ----------------------------------------------------------------------------------------------------


def write(
    folder: Path, answers: Answers | None, name: str = "m/0-s", n: int = 8, absent: tuple[int, ...] = (), **meta: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Store.open(folder)) as store:
        told = {"release": "r", "sae_id": folder.name, "neuronpedia_id": name, "num_features": n, "source": "auto"}
        store.set_meta(**told | meta)
        if answers is not None:
            store.commit(answers, AT)
        if absent:
            store.mark_not_exported(absent, AT)
        store.settle()


def row(index: int) -> tuple[int, float, float, bytes, bytes]:
    return index, 1.5, 0.25, b'[" a"]', b"[]"


def said(index: int, text: str = "dogs") -> tuple[int, str, str, str]:
    return index, "t", "m", text


def by_export(features: tuple[int, ...], explained: tuple[int, ...], key: str = "k") -> Answers:
    rows = Rows(features=[row(i) for i in features], explanations=[said(i) for i in explained])
    return Answers(rows, export_object=ExportObject(key, '"1"', 1))


def statuses(served: Served, n: int = 8) -> list[int]:
    """Return what GET says of each feature, after checking that POST agrees."""
    found = [served.ask("GET", f"/api/feature/m/0-s/{index}").status for index in range(n)]
    for index, status in enumerate(found):
        answer = served.ask("POST", "/api/features", [{"modelId": "m", "layer": "0-s", "index": index}])
        assert (answer.status, answer.status == 200 and len(answer.json)) == {
            200: (200, 1),
            404: (200, 0),
            503: (503, False),
        }[status]
        if status == 503:
            assert (
                int(answer.headers["Retry-After"]) > 0
                and f"feature {index} of m/0-s is not here yet" in answer.json["error"]
            )
    return found


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        # here explained, unexplained, orphan, missing in the export, missing, failed, never asked, by the API
        ({"source": "auto"}, [200, 503, 503, 503, 404, 503, 503, 200]),
        ({"source": "export"}, [200, 200, 503, 503, 404, 503, 503, 200]),
        ({"source": "export", "export_open": 1}, [503, 503, 503, 503, 404, 503, 503, 200]),
        ({"source": "auto", "export_open": 1, "been_whole": 1}, [200, 503, 503, 503, 404, 503, 503, 200]),
    ],
)
def test_404_is_only_what_neuronpedia_says(tmp_path: Path, meta: dict[str, Any], expected: list[int]) -> None:
    folder = tmp_path / "sae" / "r" / "id"
    write(folder, by_export((0, 1), (0, 2)), absent=(3,))
    write(folder, Answers(Rows(features=[row(7)]), missing=[4], failed=[(5, "HTTP 500")]), **meta)
    with Served(tmp_path / "sae") as served:
        assert statuses(served) == expected
        answer = served.ask("GET", "/api/explanation/export?modelId=m&saeId=0-s")
        assert answer.status == 503 and "features are not here yet" in answer.json["error"]
        assert answer.headers["Retry-After"]
        assert (
            served.ask("POST", "/api/features", [{"modelId": "m", "layer": "0-s", "index": i} for i in range(8)]).status
            == 503
        )


def test_the_export_alone_is_whole_when_it_has_been_read(tmp_path: Path) -> None:
    write(tmp_path / "sae" / "r" / "id", by_export((0, 1, 2), (0,)), n=3, source="export")
    with Served(tmp_path / "sae") as served:
        assert statuses(served, 4) == [200, 200, 200, 404]
        assert [e["description"] for e in served.get("/api/explanation/export?modelId=m&saeId=0-s")] == ["dogs"]


@pytest.mark.parametrize(
    ("features", "explained", "absent", "meta", "status"),
    [
        ((0, 1, 2), (0, 1, 2), (), {"source": "auto"}, 200),
        ((0, 1, 2), (0, 1), (), {"source": "auto"}, 503),
        ((0, 1, 2), (0, 1), (), {"source": "export"}, 200),
        ((0, 1), (0, 1, 2), (), {"source": "auto"}, 503),
        ((0, 1), (0, 1, 2), (), {"source": "export"}, 200),
        ((0, 1), (0, 1), (2,), {"source": "auto"}, 503),
        ((0, 1), (0, 1), (2,), {"source": "export"}, 200),
        ((0, 1), (0, 1), (), {"source": "export"}, 503),
        ((0, 1, 2), (0, 1, 2), (), {"source": "export", "export_open": 1}, 503),
        ((0, 1, 2), (0, 1, 2), (), {"source": "export", "export_open": 1, "been_whole": 1}, 200),
    ],
)
def test_explanations_are_exported_when_all_are_here(
    tmp_path: Path,
    features: tuple[int, ...],
    explained: tuple[int, ...],
    absent: tuple[int, ...],
    meta: dict[str, Any],
    status: int,
) -> None:
    write(tmp_path / "sae" / "r" / "id", by_export(features, explained), n=3, absent=absent, **meta)
    with Served(tmp_path / "sae") as served:
        answer = served.ask("GET", "/api/explanation/export?modelId=m&saeId=0-s")
        assert answer.status == status
        assert status == 503 or [int(e["index"]) for e in answer.json] == list(explained)


def test_a_real_export_leaves_to_the_api_what_only_it_can_tell(tmp_path: Path) -> None:
    with Standin(make_world(40, missing=[3], absent_from_export=[9])) as standin:
        download(standin, tmp_path / "sae", "export")
        with Served(tmp_path / "sae") as served:
            by_index = {i: served.ask("GET", f"{FEATURE}/{i}").status for i in range(40)}
            assert {i for i, status in by_index.items() if status == 503} == {3, 9}
            assert served.ask("GET", EXPORT).status == 200
            download(standin, tmp_path / "sae", "auto")
            assert served.ask("GET", f"{FEATURE}/3").status == 404
            assert served.ask("GET", f"{FEATURE}/9").status == 200


def test_a_refresh_that_is_half_done_takes_nothing_away(tmp_path: Path) -> None:
    world = make_world(200, all_explained=True)
    with Standin(world) as standin, Served(tmp_path / "sae") as served:
        download(standin, tmp_path / "sae", "export")
        assert {served.ask("GET", f"{FEATURE}/{i}").status for i in range(200)} == {200}
        plant(world, 42, "another label", max_act=77.0)
        standin.bucket.rebuild(MODEL, SOURCE)
        standin.faults[:] = [Fault(Respond(500), match="explanations/batch", times=None)]
        assert download(standin, tmp_path / "sae", "export", refresh=True).status == 1
        assert served.get(f"{FEATURE}/42")["maxActApprox"] == 77.0
        assert {served.ask("GET", f"{FEATURE}/{i}").status for i in range(200)} == {200}


def test_a_first_export_that_is_half_read_is_not_served(tmp_path: Path) -> None:
    with (
        Standin(make_world(200, all_explained=True), explanations_batch=100) as standin,
        Served(tmp_path / "sae") as served,
    ):
        standin.faults[:] = [Fault(Respond(500), match="explanations/batch-1", times=None)]
        assert download(standin, tmp_path / "sae", "export").status == 1
        assert {served.ask("GET", f"{FEATURE}/{i}").status for i in range(200)} == {503}
        standin.faults.clear()
        assert download(standin, tmp_path / "sae", "export").status == 0
        assert {served.ask("GET", f"{FEATURE}/{i}").status for i in range(200)} == {200}


def test_the_store_that_knows_answers_where_there_are_several(tmp_path: Path) -> None:
    write(tmp_path / "sae" / "r" / "a", Answers(Rows(features=[row(0)]), failed=[(1, "x")]))
    write(tmp_path / "sae" / "r" / "b", Answers(Rows(features=[row(1)]), missing=[2]))
    write(tmp_path / "sae" / "r" / "c", None, name="m/1-s")
    with Served(tmp_path / "sae") as served:
        assert statuses(served, 4) == [200, 200, 404, 503]


def test_stores_are_seen_as_they_come_change_and_go(tmp_path: Path) -> None:
    data_dir = tmp_path / "sae"
    with Served(data_dir) as served:
        assert statuses(served, 0) == [] and served.ask("GET", "/api/feature/m/0-s/0").status == 404
        (data_dir / "r" / "id").mkdir(parents=True)
        (data_dir / "r" / "id" / "labels.sqlite").touch()
        assert served.ask("GET", "/api/feature/m/0-s/0").status == 404
        write(data_dir / "r" / "id", None)
        assert served.ask("GET", "/api/feature/m/0-s/0").status == 503
        write(data_dir / "r" / "id", Answers(Rows(features=[row(0)], explanations=[said(0)])))
        assert served.get("/api/feature/m/0-s/0")["explanations"][0]["description"] == "dogs"
        write(data_dir / "r" / "id", Answers(Rows(features=[row(0)], explanations=[said(0, "cats")])))
        assert served.get("/api/feature/m/0-s/0")["explanations"][0]["description"] == "cats"
        shutil.rmtree(data_dir / "r" / "id")
        assert served.ask("GET", "/api/feature/m/0-s/0").status == 404
        write(data_dir / "r" / "id", Answers(missing=[0]))
        assert served.ask("GET", "/api/feature/m/0-s/0").status == 404
        write(data_dir / "r" / "id", Answers(Rows(features=[row(0)], explanations=[said(0, "birds")])))
        assert served.get("/api/feature/m/0-s/0")["explanations"][0]["description"] == "birds"


def test_features_are_whole_at_every_moment_of_a_write(tmp_path: Path) -> None:
    folder = tmp_path / "sae" / "r" / "id"

    def answers(n: int) -> Answers:
        rows = Rows(features=[(0, float(n), None, b"[]", b"[]")], explanations=[said(0, f"v{n}"), said(0, f"w{n}")])
        return Answers(rows)

    write(folder, answers(0))
    with Served(tmp_path / "sae") as served, closing(Store.open(folder)) as store:
        for n in range(1, 40):
            store.commit(answers(n), AT)
            feature = served.get("/api/feature/m/0-s/0")
            assert feature["maxActApprox"] == n
            assert [e["description"] for e in feature["explanations"]] == [f"v{n}", f"w{n}"]
    asyncio.run(_read_while_written(folder.parents[1], folder, answers))


async def _read_while_written(data_dir: Path, folder: Path, answers: Any) -> None:
    """Read as fast as can be while a thread writes: what is said belongs together each time."""
    shelf, ended = Shelf(data_dir), asyncio.Event()

    def write_on() -> None:
        with closing(Store.open(folder)) as store:
            for n in range(100, 200):
                store.commit(answers(n), AT)

    writing = asyncio.ensure_future(asyncio.to_thread(write_on))
    writing.add_done_callback(lambda _: ended.set())
    while not ended.is_set():
        (reader,) = await shelf.readers("m", "0-s")
        record = reader.read(0).record
        n = int(record.max_activation or 0)
        assert [e.text for e in record.explanations] == [f"v{n}", f"w{n}"] and record.state == State.GOT
        await asyncio.sleep(0)
    await writing
    shelf.close()


def test_many_who_ask_for_what_is_not_here_share_a_look(tmp_path: Path) -> None:
    async def work() -> None:
        write(tmp_path / "sae" / "r" / "id", None)
        shelf = Shelf(tmp_path / "sae")
        assert not any(await asyncio.gather(*(shelf.readers("m", f"{n}-x") for n in range(200))))
        assert shelf.n_looks <= 2
        write(tmp_path / "sae" / "r" / "new", None, name="m/7-x")
        assert await shelf.readers("m", "7-x") and await shelf.readers("m", "0-s")
        assert shelf.n_looks <= 3
        shelf.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_few_stores_are_open_and_idle_ones_are_closed(tmp_path: Path) -> None:
    async def work() -> None:
        for n in range(6):
            write(tmp_path / "sae" / "r" / f"s{n}", Answers(Rows(features=[row(0)])), name=f"m/{n}-s")
        now = 0.0
        shelf = Shelf(tmp_path / "sae", most_open=3, idle_s=0.01, now=lambda: now)
        for n in (0, 1, 2, 3, 4, 5, 0, 5):
            (reader,) = await shelf.readers("m", f"{n}-s")
            assert reader.read(0).record.state == State.GOT
            assert shelf.n_open <= 3
        now = 1.0
        while shelf.n_open:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        folder = tmp_path / "sae" / "r" / "s0"
        write(folder, Answers(Rows(features=[row(1)])))  # which tidies up, as nobody reads
        assert [path.name for path in folder.iterdir()] == ["labels.sqlite"]
        shelf.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_the_log_of_a_download_that_ended_is_folded_in_while_the_store_is_read(tmp_path: Path) -> None:
    async def work() -> None:
        folder = tmp_path / "sae" / "r" / "id"
        write(folder, Answers(Rows(features=[row(0)])))
        shelf = Shelf(tmp_path / "sae", idle_s=0.02)

        async def read_until(condition: Callable[[], bool]) -> None:
            while not condition():
                (reader,) = await shelf.readers("m", "0-s")
                assert reader.read(0).record.state == State.GOT
                await asyncio.sleep(0.001)

        await read_until(lambda: shelf.n_open == 1)
        with lock_folder(folder), closing(Store.open(folder)) as store:
            store.commit(Answers(Rows(features=[row(1)])), AT)
            (reader,) = await shelf.readers("m", "0-s")
            assert reader.read(1).record.state == State.GOT
            with pytest.raises(StoreError):  # as somebody reads
                store.settle()
            end = asyncio.get_running_loop().time() + 0.1
            await read_until(lambda: asyncio.get_running_loop().time() > end)
            assert (folder / "labels.sqlite-wal").exists()
        await read_until(lambda: [path.name for path in folder.iterdir()] == ["labels.sqlite"])
        (reader,) = await shelf.readers("m", "0-s")
        assert reader.read(1).record.state == State.GOT
        shelf.close()

    asyncio.run(asyncio.wait_for(work(), 60))


# -- the official client ------------------------------------------------------------------------------------------


def test_the_official_client_reads_features(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("neuronpedia", reason="the official client, neuronpedia, is not installed")
    from neuronpedia.requests.base_request import NPRequest
    from neuronpedia.requests.feature_request import FeatureRequest
    from neuronpedia.requests.sae_feature_request import SAEFeatureRequest

    monkeypatch.setenv("NEURONPEDIA_API_KEY", "any")
    # With USE_LOCALHOST=true it is the same with the port 3000, which may be somebody else's here.
    monkeypatch.setattr(NPRequest, "BASE_URL", f"http://localhost:{served.port}/api")
    feature = FeatureRequest().get(MODEL, SOURCE, 6)
    assert {e.text for e in feature.explanations} == {"a\u2028b", "\x01\x7f", "😀 <b>"}
    assert (feature.modelId, feature.source, feature.index, feature.activations) == (MODEL, SOURCE, "6", [])
    assert feature.explanations[0].method == "oai_token-act-pair" and feature.density == 0.01
    assert json.loads(SAEFeatureRequest().get(MODEL, SOURCE, "7").jsonData)["index"] == "7"
    with pytest.raises(requests.exceptions.HTTPError, match="404"):
        FeatureRequest().get(MODEL, SOURCE, MISSING[0])
