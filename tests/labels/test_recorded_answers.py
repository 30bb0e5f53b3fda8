"""What saefetch makes of each answer that the real server was recorded with, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from harness import RELEASE, SAE_ID, Download, read_back, settings_for
from recorded import ANSWERS

from saefetch.downloading.run import run_jobs
from saefetch.errors import (
    BadAnswerError,
    NotFoundError,
    RateLimitedError,
    RequestError,
    RequestRejectedError,
    ServerError,
)
from saefetch.names.identity import Target
from saefetch.net.body import Whole
from saefetch.net.request import Limits, Request
from saefetch.net.transport import Transport
from saefetch.sources.width import find_width
from saefetch.terminal.progress import Display

HOP_BY_HOP = {"transfer-encoding", "connection", "keep-alive", "date", "content-length", "vary"}
LAYER_16, LAYER_17, LAYER_20 = (f"{layer}-gemmascope-res-16k" for layer in (16, 17, 20))
Pick = Callable[[str, str, bytes], str | None]


def replay(answer: dict[str, Any]) -> web.Response:
    headers = {name: value for name, value in answer["headers"].items() if name.lower() not in HOP_BY_HOP}
    return web.Response(status=answer["status"], headers=headers, body=answer["body"].encode())


class Replay:
    """A server that gives, for each request, the recorded answer whose name `pick(method, path, body)` returns."""

    def __init__(self, pick: Pick) -> None:
        self._pick = pick
        self.given: list[str | None] = []

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        name = self._pick(request.method, request.raw_path, await request.read())
        self.given.append(name)
        return replay(ANSWERS[name]) if name else web.Response(status=404)


def crawl(
    tmp_path: Path, pick: Pick, scope: range, source: str = "batch", layer: str = LAYER_16, **knobs: Any
) -> tuple[Download, list[str | None]]:
    """Download `scope` of a layer from a server that replays what was recorded."""
    of = Target(RELEASE, SAE_ID, f"gemma-2-2b/{layer}", 16_384)

    async def run() -> tuple[Download, list[str | None]]:
        server = Replay(pick)
        async with server as url:
            settings = settings_for(url, url, tmp_path, source=source, **knobs)
            (outcome,) = await run_jobs([of], settings, Display(), scope=scope)
        return read_back(outcome, of.folder(tmp_path)), server.given

    return asyncio.run(run())


def always(name: str) -> Pick:
    return lambda *_: name


def got(done: Download) -> dict[int, dict[str, Any]]:
    return {int(index): entry for index, entry in done.features.items() if "error" not in entry}


def as_published(feature: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that do not depend on which explanation is chosen."""
    texts = [e["description"] for e in feature["explanations"]]
    entry = {
        "top_positive_tokens": feature["pos_str"][:10],
        "top_negative_tokens": feature["neg_str"][:10],
        "max_activation": feature["maxActApprox"],
        "has_explanations": bool(texts),
    }
    return entry | ({"all_descriptions": sorted(texts)} if len(texts) > 1 else {})


def as_compared(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key != "description"}
    return kept | ({"all_descriptions": sorted(kept["all_descriptions"])} if "all_descriptions" in kept else {})


# -- single features --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "index", "description"),
    [
        ("get_7_multi3_comment_list", LAYER_16, 7, " phrases related to the token 'the' at sentence starts"),
        ("get_3_no_expl", LAYER_16, 3, None),
        ("get_5_dead", LAYER_16, 5, None),
        ("get_odd17_3", LAYER_17, 3, None),
        ("get_odd17_4", LAYER_17, 4, None),
    ],
)
def test_a_single_feature_is_taken_as_it_was_served(
    tmp_path: Path, name: str, layer: str, index: int, description: str | None
) -> None:
    done, given = crawl(tmp_path, always(name), range(index, index + 1), "feature", layer)
    served = json.loads(ANSWERS[name]["body"])
    assert given == [name]
    assert (done.status, list(got(done))) == (0, [index])
    entry = done.features[str(index)]
    assert entry["description"] == description
    assert as_compared(entry) == as_published(served)
    if name == "get_5_dead":
        assert (entry["top_positive_tokens"], entry["max_activation"]) == ([], 0)
    if name == "get_odd17_4":
        assert entry["max_activation"] is None


@pytest.mark.parametrize(
    ("name", "layer", "index"),
    [
        ("get_13_missing", LAYER_16, 13),
        ("get_16384_out_of_range", LAYER_16, 16_383),
        ("get_007", LAYER_16, 7),
    ],
)
def test_a_404_is_an_answer_where_the_sae_is_known(tmp_path: Path, name: str, layer: str, index: int) -> None:
    def pick(method: str, path: str, body: bytes) -> str:
        return name if path.endswith(f"/{index}") else "get_3_no_expl"

    done, _ = crawl(tmp_path, pick, range(3, 4), "feature", layer)
    done, given = crawl(tmp_path, pick, range(index, index + 1), "feature", layer)
    assert given == [name]  # not asked for again
    assert (done.status, done.summary.missing, done.features[str(index)]["error"]) == (0, 1, "not on Neuronpedia")


@pytest.mark.parametrize("name", ["get_unknown_source_known_set", "get_unknown_model", "get_13_missing"])
def test_404_for_everything_means_an_unknown_sae(tmp_path: Path, name: str) -> None:
    done, given = crawl(tmp_path, always(name), range(16_384), "feature", "99-gemmascope-res-16k")
    assert (done.status, done.raw) == (3, b"")
    assert len(given) < 40


def test_a_feature_that_the_server_cannot_serve_fails_with_its_words(tmp_path: Path) -> None:
    done, given = crawl(tmp_path, always("get_odd17_1"), range(1, 2), "feature", LAYER_17)
    assert given == ["get_odd17_1"] * 2
    assert (done.status, done.raw) == (1, done.raw)
    assert done.summary.failed == 1


@pytest.mark.parametrize("name", ["get_unknown_api_path", "get_3_no_expl", "limit_get_3"])
def test_a_page_or_another_feature_is_not_taken_for_the_feature_asked_for(tmp_path: Path, name: str) -> None:
    done, given = crawl(tmp_path, always(name), range(9, 10), "feature")
    assert given == [name] * 2
    assert (done.status, done.summary.failed) == (1, 1)
    assert done.outcome.summary.successful == 0


def test_the_last_answer_before_the_limit_is_taken_though_it_says_zero(tmp_path: Path) -> None:
    done, given = crawl(tmp_path, always("limit_get_3"), range(1), "feature")
    assert given == ["limit_get_3"]
    assert done.status == 0
    assert done.features["0"]["description"] == "punctuation around numerical values in tables"


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "scope", "taken"),
    [
        ("post_duplicates", LAYER_16, range(8), {0, 7}),
        ("post_missing_in_batch", LAYER_16, range(12, 15), {12, 14}),
        ("post_mixed_layers", LAYER_16, range(3), {0, 1, 2}),
        ("post_mixed_layers", LAYER_20, range(3), {0, 1, 2}),
        ("post_multi_expl", LAYER_16, range(8), {3, 5, 7}),
        ("post_layer17_3to6", LAYER_17, range(3, 7), {3, 4, 5, 6}),
        ("post_maxacts_0", LAYER_16, range(20, 22), {20, 21}),
        ("post_maxacts_2", LAYER_16, range(20, 22), {20, 21}),
    ],
)
def test_a_batch_is_matched_by_layer_and_index(
    tmp_path: Path, name: str, layer: str, scope: range, taken: set[int]
) -> None:
    done, given = crawl(tmp_path, always(name), scope, layer=layer)
    served = {int(f["index"]): f for f in json.loads(ANSWERS[name]["body"]) if f["layer"] == layer}
    assert given == [name]
    assert (done.status, done.summary.successful, done.summary.failed) == (0, len(taken), 0)
    assert done.summary.missing == len(scope) - len(taken)
    assert set(got(done)) == taken
    for index in taken:
        entry = done.features[str(index)]
        assert as_compared(entry) == as_published(served[index])
        texts = [e["description"] for e in served[index]["explanations"] if e["description"].strip()]
        assert entry["description"] in (texts or [None])


def test_the_four_explanations_of_a_feature_are_ranked_alike_from_both_routes(tmp_path: Path) -> None:
    batch, _ = crawl(tmp_path / "batch", always("post_multi_expl"), range(7, 8))
    one, _ = crawl(tmp_path / "feature", always("get_7_multi3_comment_list"), range(7, 8), "feature")
    assert batch.features["7"] == one.features["7"]
    assert len(one.features["7"]["all_descriptions"]) == 3
    (served,) = (f for f in json.loads(ANSWERS["post_multi_expl"]["body"]) if f["index"] == "12345")
    many, _ = crawl(tmp_path / "many", always("post_multi_expl"), range(12_345, 12_346))
    entry = many.features["12345"]
    assert entry["description"] == " references to chemical compounds"  # np_max-act-logits comes before oai_...
    assert sorted(entry["all_descriptions"]) == sorted(e["description"] for e in served["explanations"])
    assert entry["all_descriptions"][-1] == " code involving C++ templates (std::vector<T>)"  # type and model are null


def test_a_batch_without_any_feature_is_missing_where_the_sae_is_known(tmp_path: Path) -> None:
    def pick(method: str, path: str, body: bytes) -> str:
        return "post_all_missing" if [e["index"] for e in json.loads(body)] == [13] else "post_missing_in_batch"

    done, given = crawl(tmp_path, pick, range(13, 14))
    assert given == ["post_all_missing", "post_missing_in_batch"]  # one look at features all over the SAE
    assert (done.status, done.summary.missing) == (0, 1)


@pytest.mark.parametrize("name", ["post_unknown_source", "post_all_missing"])
def test_nothing_for_any_feature_means_an_unknown_sae(tmp_path: Path, name: str) -> None:
    done, given = crawl(tmp_path, always(name), range(16_384), layer="99-gemmascope-res-16k")
    assert (done.status, done.raw) == (3, b"")
    assert len(given) < 20


def test_a_batch_poisoned_by_nan_is_split_until_the_culprit_is_alone(tmp_path: Path) -> None:
    def pick(method: str, path: str, body: bytes) -> str:
        indices = [element["index"] for element in json.loads(body)]
        return "post_layer17_nan" if 1 in indices else "post_layer17_3to6"

    done, given = crawl(tmp_path, pick, range(1, 7), layer=LAYER_17)
    assert (done.status, done.summary.failed, sorted(got(done))) == (1, 1, [3, 4, 5, 6])
    assert done.summary.missing == 1
    assert "500" in done.features["1"]["error"]
    assert "Unknown Error" in done.features["1"]["error"]
    assert given.count("post_layer17_nan") == 6  # 6 features twice, then 3, 2, 1, and the last one once more


@pytest.mark.parametrize("name", ["post_bad_second_element", "post_bad_index_float"])
def test_a_refused_batch_is_split_and_not_repeated(tmp_path: Path, name: str) -> None:
    done, given = crawl(tmp_path, always(name), range(4))
    assert given == [name] * 7
    assert done.summary.failed == 4
    assert done.status == 1


@pytest.mark.parametrize("name", ["post_bad_empty_list", "post_bad_invalid_json", "limit_backend_error"])
def test_500_for_everything_is_an_outage_that_is_waited_for(tmp_path: Path, name: str) -> None:
    done, given = crawl(tmp_path, always(name), range(2), max_wait_s=0.2)
    # Two together, twice; one of them, twice; the other, which has nothing in common with it; then the small request.
    assert 6 <= len(given) <= 8 and set(given) == {name}
    assert (done.status, done.summary.failed) == (1, 2)
    assert "keeps failing" in str(done.outcome.error)


@pytest.mark.parametrize("source", ["batch", "feature"])
@pytest.mark.parametrize("name", ["limit_get_4", "limit_get_5", "limit_post"])
def test_429_stops_the_run_where_the_wait_is_longer_than_allowed(tmp_path: Path, source: str, name: str) -> None:
    done, given = crawl(tmp_path, always(name), range(1000), source, max_wait_s=1)
    assert done.status == 1
    assert len(given) <= 8 + 1  # those in flight, and one that takes itself for the probe
    assert done.summary.rate_limited >= len(given) - 1
    assert "rate limited" in str(done.outcome.error).lower()
    assert done.raw == b""


# -- the rest, at the transport ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("get_13_missing", NotFoundError, "404"),
        ("get_16384_out_of_range", NotFoundError, "not available"),
        ("get_007", NotFoundError, "404"),
        ("get_unknown_source_known_set", NotFoundError, "404"),
        ("get_unknown_model", NotFoundError, "404"),
        ("get_unknown_api_path", BadAnswerError, "text/html"),
        ("get_odd17_1", ServerError, "Something went wrong on our end"),
        ("get_features_405", RequestRejectedError, "405"),
        ("export_get", RequestRejectedError, "This endpoint has been removed"),
        ("post_layer17_nan", ServerError, "Unknown Error"),
        ("post_bad_empty_list", ServerError, "Unknown Error"),
        ("post_bad_invalid_json", ServerError, "our end"),
        ("post_bad_second_element", RequestRejectedError, "[1].layer is a required field"),
        ("post_bad_index_float", RequestRejectedError, "[0].index must be an integer"),
        ("limit_get_4", RateLimitedError, "rate limited"),
        ("limit_get_5", RateLimitedError, "rate limited"),
        ("limit_post", RateLimitedError, "rate limited"),
        ("limit_backend_error", ServerError, "500"),
    ],
)
def test_every_recorded_failure_has_its_class_and_says_what_the_server_said(
    name: str, error: type[RequestError], says: str
) -> None:
    with pytest.raises(error) as caught:
        asyncio.run(send(always(name)))
    assert says in str(caught.value)
    assert "http://127.0.0.1" in str(caught.value)
    if isinstance(caught.value, ServerError):
        assert caught.value.status == 500


def test_a_trailing_slash_is_redirected_and_followed() -> None:
    def pick(method: str, path: str, body: bytes) -> str:
        return "get_trailing_slash" if path.endswith("/") else "limit_get_3"

    path = ANSWERS["get_trailing_slash"]["request"]["path"]
    assert asyncio.run(send(pick, path)) == ANSWERS["limit_get_3"]["body"].encode()


def test_the_width_is_in_every_single_feature() -> None:
    bodies = [a["body"] for name, a in ANSWERS.items() if name.startswith("get_") and a["body"].startswith('{"modelId')]
    assert len(bodies) >= 5
    for body in bodies:
        assert find_width(body.encode()) in (16_384, None)
    assert any(find_width(body.encode()) == 16_384 for body in bodies)


def test_no_recorded_answer_is_left_out_of_this_file() -> None:
    text = Path(__file__).read_text("utf-8")
    assert ANSWERS
    assert [name for name in ANSWERS if f'"{name}"' not in text] == []


async def send(pick: Pick, path: str = "/api/nope") -> bytes:
    async with Replay(pick) as url, Transport(Limits(max_attempts=1, max_wait_s=0), url) as transport:
        request = Request(
            url + path, lambda _: Whole("it", 1 << 20, lambda body: body), content_types=("application/json",)
        )
        return await transport.send(request)
