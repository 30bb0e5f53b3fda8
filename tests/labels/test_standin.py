"""The stand-in must answer as Neuronpedia does; otherwise every other test here tests nothing."""

import ast
import asyncio
import gzip
import json
import math
import signal
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from recorded import ANSWERS

import standin as standin_package
from standin import (
    Action,
    CorruptGzip,
    Delay,
    Explanation,
    Fault,
    Feature,
    Gone,
    Mangle,
    NoAnswer,
    Oversize,
    Reset,
    Respond,
    ShortBody,
    Stall,
    Standin,
    TooMany,
    TruncateGzip,
    World,
)
from standin.bucket import text_order

MODEL, SOURCE = "gemma-2-2b", "16-gemmascope-res-16k"
FEATURE_PATH = f"/api/feature/{MODEL}/{SOURCE}"
EXPORT_PREFIX = f"v1/{MODEL}/{SOURCE}"
XMLNS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
EXCHANGES = [answer for name, answer in ANSWERS.items() if not name.startswith("limit_")]


def make_world(n_features: int = 300, **knobs: Any) -> World:
    world = World()
    world.add_source(MODEL, SOURCE, n_features, **knobs)
    return world


def explain(text: str, number: int = 0) -> Explanation:
    return Explanation(text, "oai_token-act-pair", "gpt-4o-mini", f"cmplanted{number}")


def plant(world: World, index: int, *texts: str, max_act: float | None = 1.5) -> Feature:
    explanations = tuple(explain(text, k) for k, text in enumerate(texts))
    feature = Feature(index, explanations, (" a", "b"), ("c",), max_act, 0.01)
    world.override(MODEL, SOURCE, feature)
    return feature


@asynccontextmanager
async def serving(world: World, **knobs: Any) -> AsyncIterator[tuple[Standin, aiohttp.ClientSession]]:
    async with Standin(world, **knobs) as standin, aiohttp.ClientSession() as client:
        yield standin, client


async def get(client: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with client.get(url, allow_redirects=False) as response:
        return response.status, await response.read()


async def post(standin: Standin, client: aiohttp.ClientSession, asked: Any) -> tuple[int, Any]:
    async with client.post(f"{standin.api_url}/api/features", json=asked) as response:
        return response.status, await response.json()


async def list_page(standin: Standin, client: aiohttp.ClientSession, prefix: str, token: str = "") -> ET.Element:
    more = f"&continuation-token={quote(token, safe='')}" if token else ""
    status, body = await get(client, f"{standin.export_url}/?list-type=2&prefix={prefix}{more}")
    assert status == 200
    return ET.fromstring(body)


async def list_keys(standin: Standin, client: aiohttp.ClientSession, prefix: str) -> list[str]:
    page = await list_page(standin, client, prefix)
    return [key.text or "" for key in page.iter(f"{XMLNS}Key")]


async def read_rows(standin: Standin, client: aiohttp.ClientSession, folder: str) -> list[list[dict[str, Any]]]:
    """Return the rows of every batch of a folder."""
    batches = []
    for key in await list_keys(standin, client, f"{EXPORT_PREFIX}/{folder}/"):
        _, body = await get(client, f"{standin.export_url}/{key}")
        batches.append([json.loads(line) for line in gzip.decompress(body).split(b"\n")[:-1]])
    return batches


async def talk(url: str) -> bytes:
    """Read what comes back for a GET until the connection closes, without an HTTP client in between."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(reader.read(), timeout=120)
    finally:
        writer.close()


def ask(*indices: int, source: str = SOURCE, max_acts: int = 1) -> list[dict[str, Any]]:
    return [{"modelId": MODEL, "layer": source, "index": index, "maxActsToReturn": max_acts} for index in indices]


def recorded_world() -> World:
    world = World()
    world.add_source(MODEL, SOURCE, 16_384, missing=(13, 777))
    world.add_source(MODEL, "17-gemmascope-res-16k", 16_384)
    world.add_source(MODEL, "20-gemmascope-res-16k", 16_384)
    plant(world, 7, " one", "two", "three")
    plant(world, 12_345, "one")
    plant(world, 3)
    plant(world, 20, "one")
    plant(world, 42)
    world.override(MODEL, SOURCE, Feature(5, (), (), (), 0, 0))
    return world


def shape(value: Any) -> Any:
    """Return the key sets of an answer, with everything that is data taken out."""
    if isinstance(value, dict):
        return {key: shape(part) if key != "saelensConfig" else set(part) for key, part in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return shape(value[0])
    return type(value).__name__ if isinstance(value, str) else None


def agree(ours: Any, theirs: Any) -> bool:
    """Tell whether two shapes agree wherever both have something."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(agree(ours[key], theirs[key]) for key in ours)
    return ours is None or theirs is None or ours == theirs


@pytest.mark.parametrize("answer", EXCHANGES, ids=lambda answer: str(answer["name"]))
def test_it_answers_as_the_real_server_was_recorded(answer: dict[str, Any]) -> None:
    async def exchange() -> tuple[int, str | None, bytes]:
        nan = {(MODEL, "17-gemmascope-res-16k", 1)}
        async with serving(recorded_world(), nan_features=nan) as (standin, client):
            sent = answer["request_body"]
            data = sent.encode() if sent is not None else None
            request = client.request(
                answer["request"]["method"],
                standin.api_url + answer["request"]["path"],
                data=data,
                allow_redirects=False,
            )
            async with request as response:
                assert response.headers.get("Transfer-Encoding") == "chunked"
                assert "Content-Length" not in response.headers
                return response.status, response.headers.get("Content-Type"), await response.read()

    status, content_type, body = asyncio.run(exchange())
    theirs = {name.lower(): value for name, value in answer["headers"].items()}
    assert status == answer["status"]
    assert content_type == theirs.get("content-type")
    if content_type is None or status >= 400:
        assert body.decode() == answer["body"]
    elif content_type == "application/json":
        ours, real = json.loads(body), json.loads(answer["body"])
        assert agree(shape(ours), shape(real)), (shape(ours), shape(real))
        if isinstance(real, list):
            assert Counter((f["layer"], f["index"]) for f in ours) == Counter((f["layer"], f["index"]) for f in real)
        else:
            assert list(ours) == list(real)
    else:
        assert body.startswith(answer["body"][:15].encode())


def test_the_limiter_refuses_as_the_real_one_was_recorded() -> None:
    async def exchange() -> tuple[list[tuple[int, str | None, bytes]], list[str]]:
        async with serving(make_world(), api_limit=1) as (standin, client):
            seen = []
            for _ in range(2):
                async with client.get(standin.api_url + FEATURE_PATH + "/0") as response:
                    limit = response.headers.get("x-limit-remaining")
                    seen.append((response.status, limit, await response.read()))
            return seen, list(response.headers)

    real = ANSWERS["limit_get_4"]
    ((first, remaining, _), (status, none, body)), headers = asyncio.run(exchange())
    assert (first, remaining) == (200, "0")
    assert (status, none, "Retry-After" in headers) == (real["status"], None, False)
    assert body.decode() == real["body"].replace("25000", "1")


def test_refused_requests_do_not_count_and_the_window_slides() -> None:
    now = [0.0]

    async def statuses() -> list[int]:
        async with serving(make_world(), api_limit=2, wall=lambda: now[0]) as (standin, client):
            seen = []
            for now[0] in (7200, 7205, 7206, 7300, 10_799, 10_800, 12_599, 12_601, 12_602, 14_400):
                seen.append((await get(client, standin.api_url + FEATURE_PATH + "/0"))[0])
            return seen

    # Refused until the full hour, whose first request finds both of the hour before still counted; at half past one is.
    assert asyncio.run(statuses()) == [200, 200, 429, 429, 429, 429, 429, 429, 429, 200]


def test_after_the_full_hour_room_comes_little_by_little() -> None:
    now = [7200.0]

    async def statuses() -> list[int]:
        async with serving(make_world(), api_limit=2, wall=lambda: now[0]) as (standin, client):
            seen = []
            for now[0] in (7200, 7205, 10_801, 10_802, 14_400):
                seen.append((await get(client, standin.api_url + FEATURE_PATH + "/0"))[0])
            return seen

    assert asyncio.run(statuses()) == [200, 200, 200, 429, 200]


def test_a_date_tells_the_time_of_the_wall() -> None:
    async def date() -> str:
        async with (
            serving(make_world(), wall=lambda: 7205.5) as (standin, client),
            client.get(standin.api_url) as response,
        ):
            return response.headers["Date"]

    assert asyncio.run(date()) == "Thu, 01 Jan 1970 02:00:05 GMT"


def test_a_restart_refuses_connections_and_then_answers_at_the_same_address() -> None:
    async def seen() -> list[int]:
        async with serving(make_world()) as (standin, client):
            statuses = [(await get(client, standin.api_url + FEATURE_PATH + "/0"))[0]]
            restarting = asyncio.create_task(standin.refuse_connections(0.3))
            await asyncio.sleep(0.1)
            with pytest.raises(aiohttp.ClientConnectorError):
                await get(client, standin.api_url + FEATURE_PATH + "/0")
            await restarting
            return [*statuses, (await get(client, standin.api_url + FEATURE_PATH + "/0"))[0]]

    assert asyncio.run(seen()) == [200, 200]


def test_a_source_set_tells_the_widths_of_its_sources() -> None:
    async def exchange() -> tuple[int, Any, int]:
        world = make_world()
        world.add_source(MODEL, "7-gemmascope-res-16k", 77)
        world.add_source(MODEL, "7-another", 78)
        async with serving(world) as (standin, client):
            status, said = await get(client, f"{standin.api_url}/api/source-set/{MODEL}/gemmascope-res-16k")
            nothing, _ = await get(client, f"{standin.api_url}/api/source-set/{MODEL}/nope")
            return status, json.loads(said), nothing

    status, said, nothing = asyncio.run(exchange())
    assert (status, nothing) == (200, 404)
    widths = {source["id"]: source["saelensConfig"]["d_sae"] for source in said["sources"]}
    assert widths == {SOURCE: make_world().d_sae(MODEL, SOURCE), "7-gemmascope-res-16k": 77}


def test_an_object_that_is_lost_is_neither_listed_nor_served() -> None:
    async def exchange() -> tuple[list[str], int]:
        async with serving(make_world(), explanations_batch=64) as (standin, client):
            key = f"{EXPORT_PREFIX}/explanations/batch-1.jsonl.gz"
            standin.bucket.lose(key)
            keys = await list_keys(standin, client, f"{EXPORT_PREFIX}/explanations/")
            return keys, (await get(client, f"{standin.export_url}/{key}"))[0]

    keys, status = asyncio.run(exchange())
    assert [key.rpartition("/")[2] for key in keys][:2] == ["batch-0.jsonl.gz", "batch-2.jsonl.gz"] and status == 404


def test_a_world_may_have_an_explanation_of_everything() -> None:
    world = World()
    world.add_source(MODEL, SOURCE, 3000, all_explained=True)
    assert all(world.feature(MODEL, SOURCE, index).explanations for index in range(3000))


def test_a_batch_collapses_duplicates_and_leaves_out_the_missing() -> None:
    async def exchange() -> list[str]:
        async with serving(make_world(missing={4})) as (standin, client):
            _, features = await post(standin, client, ask(*range(20), 3, 3, 999))
            return [feature["index"] for feature in features]

    indices = asyncio.run(exchange())
    assert sorted(indices, key=int) == [str(index) for index in range(20) if index != 4]
    assert indices != sorted(indices, key=int)


@pytest.mark.parametrize(("first", "second", "at_least", "at_most"), [(1, 0, 1, 1), (0, 1, 30, 60), (3, 1, 3, 3)])
def test_only_the_first_element_limits_the_activations(first: int, second: int, at_least: int, at_most: int) -> None:
    async def exchange() -> list[int]:
        world = make_world()
        plant(world, 1, "x")
        plant(world, 2, "y")
        async with serving(world) as (standin, client):
            _, features = await post(standin, client, ask(1, max_acts=first) + ask(2, max_acts=second))
            return [len(feature["activations"]) for feature in features]

    counts = asyncio.run(exchange())
    assert len(counts) == 2
    assert all(at_least <= count <= at_most for count in counts)


def test_a_planted_nan_fails_its_batch_and_itself_but_not_its_neighbours() -> None:
    async def exchange() -> list[int]:
        world = make_world()
        plant(world, 1, "x", max_act=math.nan)
        async with serving(world) as (standin, client):
            batches = [(await post(standin, client, ask(*indices)))[0] for indices in ((0, 1, 2), (0, 2))]
            singles = [(await get(client, f"{standin.api_url}{FEATURE_PATH}/{index}"))[0] for index in (1, 2)]
            return batches + singles

    assert asyncio.run(exchange()) == [500, 200, 500, 200]


def test_every_surface_serves_the_same_feature() -> None:
    world = make_world(60)
    odd = 'line\nbreak \u2028 <b>bold</b> \N{GRINNING FACE} \x07 \\u0041 " lone \ud83d'
    plant(world, 11, odd, " ", "")

    async def exchange() -> None:
        async with serving(world, features_batch=16, explanations_batch=16) as (standin, client):
            _, batch = await post(standin, client, ask(*range(60)))
            rows = {int(row["index"]): row for rows in await read_rows(standin, client, "features") for row in rows}
            explained: dict[int, set[Any]] = {}
            for row in (row for rows in await read_rows(standin, client, "explanations") for row in rows):
                names = (row["description"], row["typeName"], row["explanationModelName"])
                explained.setdefault(int(row["index"]), set()).add(names)
            for index in range(60):
                feature = world.feature(MODEL, SOURCE, index)
                assert feature is not None
                _, body = await get(client, f"{standin.api_url}{FEATURE_PATH}/{index}")
                single = json.loads(body)
                inner = next(element for element in batch if element["index"] == str(index))
                for served in (single, inner, rows[index]):
                    assert tuple(served["pos_str"]) == feature.pos_str
                    assert tuple(served["neg_str"]) == feature.neg_str
                    assert served["maxActApprox"] == feature.max_act_approx
                    assert served["frac_nonzero"] == feature.frac_nonzero
                wanted = {(e.description, e.type_name, e.model_name) for e in feature.explanations}
                for served in (single, inner):
                    explanations = served["explanations"]
                    assert {
                        (e["description"], e["typeName"], e["explanationModelName"]) for e in explanations
                    } == wanted
                assert explained.get(index, set()) == wanted

    asyncio.run(exchange())


def test_unscored_explanations_come_first_and_scores_fall() -> None:
    world = make_world()
    plant(world, 0, *map(str, range(12)))

    async def exchange() -> Any:
        async with serving(world) as (standin, client):
            return json.loads((await get(client, f"{standin.api_url}{FEATURE_PATH}/0"))[1])["explanations"]

    best = [max((score["value"] for score in e["scores"]), default=math.inf) for e in asyncio.run(exchange())]
    assert math.inf in best
    assert best[-1] < math.inf
    assert best == sorted(best, reverse=True)


def test_payloads_are_as_large_as_the_real_ones() -> None:
    async def exchange() -> tuple[list[int], float]:
        async with serving(make_world(odd=False)) as (standin, client):
            singles = [len((await get(client, f"{standin.api_url}{FEATURE_PATH}/{index}"))[1]) for index in range(100)]
            async with client.post(f"{standin.api_url}/api/features", json=ask(*range(100))) as response:
                return singles, len(await response.read()) / 100

    singles, per_feature = asyncio.run(exchange())
    alive = [size for size in singles if size > 10_000]
    assert len(alive) >= 95
    assert all(60_000 < size < 340_000 for size in alive)
    assert 5_000 < per_feature < 6_500


def test_export_rows_are_sorted_as_text_some_twice_none_lost() -> None:
    world = make_world(missing={7}, absent_from_export={8, 200})

    async def exchange() -> tuple[list[list[dict[str, Any]]], list[list[dict[str, Any]]], int]:
        async with serving(world, features_batch=64, explanations_batch=32) as (standin, client):
            features = await read_rows(standin, client, "features")
            explanations = await read_rows(standin, client, "explanations")
            return features, explanations, (await get(client, f"{standin.api_url}{FEATURE_PATH}/200"))[0]

    features, explanations, absent_in_api = asyncio.run(exchange())
    indices = [row["index"] for batch in features for row in batch]
    assert set(map(int, indices)) == set(range(300)) - {7, 8, 200}
    assert list(map(str, indices)) == sorted(map(str, indices))
    assert len(indices) > len(set(map(int, indices)))
    assert absent_in_api == 200
    ids = Counter(row["id"] for batch in explanations for row in batch)
    assert max(ids.values()) > 1
    kept = [world.feature(MODEL, SOURCE, index) for index in set(map(int, indices))]
    assert set(ids) == {explanation.id for feature in kept if feature for explanation in feature.explanations}
    assert {type(batch[0]["index"]) for batch in features + explanations} == {str, int}
    assert {type(row.get("embedding")) for batch in explanations for row in batch} == {str, list, type(None)}
    assert any("embedding" not in row for batch in explanations for row in batch)
    assert any("NaN" in json.dumps(row) for batch in features for row in batch)


def test_batches_of_the_two_folders_differ_in_size_and_are_numbered_from_0_without_holes() -> None:
    async def exchange() -> tuple[list[int], list[int]]:
        async with serving(make_world(), features_batch=64, explanations_batch=32) as (standin, client):
            numbers = []
            for folder in ("features", "explanations"):
                keys = await list_keys(standin, client, f"{EXPORT_PREFIX}/{folder}/")
                numbers.append(sorted(int(key.rpartition("-")[2].removesuffix(".jsonl.gz")) for key in keys))
            return numbers[0], numbers[1]

    features, explanations = asyncio.run(exchange())
    assert features == [0, 1, 2, 3, 4]
    assert explanations == list(range(10))


def test_later_runs_append_their_explanations() -> None:
    world = make_world(20)
    plant(world, 1, "first", "second", "third")

    async def exchange() -> list[int]:
        async with serving(world) as (standin, client):
            rows = await read_rows(standin, client, "explanations")
            return [int(row["index"]) for batch in rows for row in batch]

    indices = asyncio.run(exchange())
    assert indices.count(1) == 3
    assert indices[-2:] == [1, 1] or indices[-3:].count(1) == 2
    assert indices.index(1) < 3


def test_a_sloppy_prefix_lists_siblings_with_wrong_content() -> None:
    async def exchange() -> tuple[list[str], list[str], list[str], bytes]:
        async with serving(make_world()) as (standin, client):
            sloppy = await list_keys(standin, client, f"{EXPORT_PREFIX}/features")
            clean = await list_keys(standin, client, f"{EXPORT_PREFIX}/features/")
            source = await list_keys(standin, client, EXPORT_PREFIX)
            _, wrong = await get(client, f"{standin.export_url}/{EXPORT_PREFIX}__l0-143/explanations/batch-0.jsonl.gz")
            return sloppy, clean, source, wrong

    sloppy, clean, source, wrong = asyncio.run(exchange())
    assert set(sloppy) - set(clean) == {f"{EXPORT_PREFIX}/features-prev/batch-0.jsonl.gz"}
    assert clean == [f"{EXPORT_PREFIX}/features/batch-0.jsonl.gz"]
    assert any(key.startswith(f"{EXPORT_PREFIX}__l0-143/features/") for key in source)
    assert {key.rpartition("/")[2] for key in source} >= {"release.jsonl", "model.jsonl", "source.jsonl"}
    assert b"WRONG" in gzip.decompress(wrong)


def test_source_jsonl_tells_the_width() -> None:
    async def exchange() -> bytes:
        async with serving(make_world()) as (standin, client):
            return (await get(client, f"{standin.export_url}/{EXPORT_PREFIX}/source.jsonl"))[1]

    assert json.loads(asyncio.run(exchange()))["saelensConfig"]["d_sae"] == 300


def test_a_long_listing_is_continued_by_an_opaque_token() -> None:
    async def exchange() -> tuple[list[list[str]], list[str], bool]:
        async with serving(make_world(), features_batch=16, max_keys=7) as (standin, client):
            pages, token, tokens = [], "", []
            while True:
                page = await list_page(standin, client, f"{EXPORT_PREFIX}/features/", token)
                pages.append([key.text or "" for key in page.iter(f"{XMLNS}Key")])
                token = page.findtext(f"{XMLNS}NextContinuationToken") or ""
                assert (page.findtext(f"{XMLNS}IsTruncated") == "true") == bool(token)
                if not token:
                    break
                tokens.append(token)
            assert "+" in tokens[0]
            unescaped = f"{standin.export_url}/?list-type=2&prefix={EXPORT_PREFIX}/&continuation-token={tokens[0]}"
            return pages, tokens, b" 400 " in (await talk(unescaped)).partition(b"\r\n")[0]

    pages, tokens, unescaped_is_refused = asyncio.run(exchange())
    keys = [key for page in pages for key in page]
    assert [len(page) for page in pages] == [7, 7, 6]
    assert keys == sorted(set(keys), key=str.encode)
    assert len(tokens) == 2
    assert unescaped_is_refused


def test_keys_and_tags_of_a_listing_are_those_of_the_objects() -> None:
    async def exchange() -> None:
        async with serving(make_world(), gzip_header=True) as (standin, client):
            page = await list_page(standin, client, f"{EXPORT_PREFIX}/features/")
            found = page.find(f"{XMLNS}Contents")
            assert found is not None
            key, etag = found.findtext(f"{XMLNS}Key"), found.findtext(f"{XMLNS}ETag")
            async with aiohttp.ClientSession(auto_decompress=False) as raw, raw.get(f"{standin.export_url}/{key}") as r:
                body = await r.read()
                assert r.headers["ETag"] == etag == f'"{md5(body).hexdigest()}"'
                assert r.headers["Content-Encoding"] == "gzip"
                assert found.findtext(f"{XMLNS}Size") == r.headers["Content-Length"] == str(len(body))
            status, missing = await get(client, f"{standin.export_url}/{EXPORT_PREFIX}/features/batch-99.jsonl.gz")
            assert status == 404
            assert b"<Code>NoSuchKey</Code>" in missing

    asyncio.run(exchange())


def test_a_new_export_changes_only_the_objects_that_changed() -> None:
    world = make_world()

    async def exchange() -> set[str]:
        async with serving(world, features_batch=64, explanations_batch=32) as (standin, client):
            before = {o.key: o for o in standin.bucket.objects(f"{EXPORT_PREFIX}/")}
            old = world.feature(MODEL, SOURCE, 150)
            assert old is not None
            assert old.explanations
            changed = replace(old.explanations[0], description="changed")
            world.override(MODEL, SOURCE, replace(old, explanations=(changed, *old.explanations[1:])))
            await asyncio.to_thread(standin.bucket.rebuild, MODEL, SOURCE)
            assert any("changed" in str(row) for row in await read_rows(standin, client, "explanations"))
            return {o.key for o in standin.bucket.objects(f"{EXPORT_PREFIX}/") if before[o.key] is not o}

    changed = asyncio.run(exchange())
    assert 1 <= len(changed) <= 2
    assert all("/explanations/" in key for key in changed)


def test_rewritten_lines_have_a_tag_that_fits() -> None:
    async def exchange() -> tuple[str, str, bytes]:
        async with serving(make_world()) as (standin, client):
            key = f"{EXPORT_PREFIX}/features/batch-0.jsonl.gz"
            standin.bucket.rewrite(key, lambda lines: lines + b'{"index": "1\x01"}\n')
            (listed,) = standin.bucket.objects(key)
            _, body = await get(client, f"{standin.export_url}/{key}")
            return listed.etag, f'"{md5(body).hexdigest()}"', gzip.decompress(body)

    listed, actual, lines = asyncio.run(exchange())
    assert listed == actual
    assert lines.endswith(b'{"index": "1\x01"}\n')


def test_spooled_objects_are_the_same_and_lie_on_disk(tmp_path: Path) -> None:
    no_time = bytes(4)
    in_memory = Standin(make_world()).bucket.objects(f"{EXPORT_PREFIX}/features/")
    spooled = Standin(make_world(), spool=tmp_path).bucket.objects(f"{EXPORT_PREFIX}/features/")
    assert {o.read()[4:8] for o in in_memory} == {no_time}
    assert [(o.key, o.etag, o.read()) for o in spooled] == [(o.key, o.etag, o.read()) for o in in_memory]
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.gz")] == [o.key for o in spooled]


def test_gzip_finds_no_repeats_in_the_ballast() -> None:
    for stored in Standin(make_world()).bucket.objects(f"{EXPORT_PREFIX}/"):
        if "/features/" in stored.key or "/explanations/" in stored.key:
            lines = gzip.decompress(stored.read())
            assert len(gzip.compress(lines, 6)) > len(lines) / 4, stored.key


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 11, 99, 100, 101, 1000, 16_384])
def test_text_order_is_the_order_of_text(n: int) -> None:
    assert list(text_order(n)) == sorted(range(n), key=str)


def test_features_depend_on_seed_and_place_only() -> None:
    first, second, other = make_world(), make_world(), World(seed=1)
    other.add_source(MODEL, SOURCE, 300)
    features = [first.feature(MODEL, SOURCE, index) for index in range(300)]
    assert features == [second.feature(MODEL, SOURCE, index) for index in reversed(range(300))][::-1]
    assert features != [other.feature(MODEL, SOURCE, index) for index in range(300)]
    assert first.feature(MODEL, SOURCE, 300) is None
    assert first.feature(MODEL, "no-such-source", 0) is None


def test_made_up_labels_have_the_real_proportions() -> None:
    world = make_world(20_000)
    features = [feature for feature in (world.feature(MODEL, SOURCE, i) for i in range(20_000)) if feature]
    counts = Counter(len(feature.explanations) for feature in features)
    texts = [e.description or "" for feature in features for e in feature.explanations]
    dead = [feature for feature in features if not feature.pos_str and not feature.neg_str]
    assert 0.005 < counts[0] / 20_000 < 0.02
    assert 0.01 < (counts[2] + counts[3] + counts[4]) / 20_000 < 0.03
    assert 0.2 < sum(text.startswith(" ") for text in texts) / len(texts) < 0.6
    assert {"", " "} <= set(texts)
    assert {0, None} <= {feature.max_act_approx for feature in dead}
    assert any("\u2028" in text for text in texts)
    assert any("\x07" in token for feature in features for token in feature.pos_str)
    assert {0, 9, 10, 14} <= {len(feature.pos_str) for feature in features}
    assert any(None in (e.type_name, e.model_name) for feature in features for e in feature.explanations)
    assert len(set(texts)) > 10_000


def test_given_labels_are_served_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl.gz"
    row = {"modelId": MODEL, "layer": SOURCE, "index": "17", "description": " exact \u2028 text\n"}
    path.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    world = World(labels=path)
    world.add_source(MODEL, SOURCE, 20)
    feature = world.feature(MODEL, SOURCE, 17)
    assert feature is not None
    assert [e.description for e in feature.explanations] == [row["description"]]


def test_whole_features_are_served_as_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "features.jsonl.gz"
    said = {"description": "rivers", "typeName": "top-tokens", "explanationModelName": None}
    row = {"modelId": MODEL, "layer": SOURCE, "index": 3, "maxActApprox": 2.5, "frac_nonzero": 0.25}
    row |= {"pos_str": [" river"], "neg_str": [], "explanations": [said]}
    path.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    world = World()
    world.add_source(MODEL, SOURCE, 20)
    world.plant(path)
    feature = world.feature(MODEL, SOURCE, 3)
    assert feature is not None
    assert (feature.max_act_approx, feature.frac_nonzero, feature.pos_str) == (2.5, 0.25, (" river",))
    assert [(e.description, e.type_name, e.model_name) for e in feature.explanations] == [
        ("rivers", "top-tokens", None)
    ]


# --------------------------------------------------------------------------------------------------------- the faults

Probe = Callable[[Standin, aiohttp.ClientSession, str, str], Awaitable[None]]


async def probe_429(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    async with client.get(api) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await response.json())["requestWindow"] == "60 m"


async def probe_respond(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    async with client.get(api, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "https://elsewhere/")
        assert await response.read() == b"moved"


async def probe_gone(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    status, body = await get(client, export)
    assert (status, b"NoSuchKey" in body) == (404, True)


async def probe_silence(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    with pytest.raises(asyncio.TimeoutError):
        async with client.get(api, timeout=aiohttp.ClientTimeout(total=0.1)):
            pass


async def probe_stall(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    async with client.get(api) as response:
        assert await response.content.readexactly(100)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(response.content.readexactly(1), 0.1)


async def probe_reset(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    with pytest.raises(ConnectionResetError):
        await talk(export)


async def probe_short(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    head, _, body = (await talk(api)).partition(b"\r\n\r\n")
    assert len(body) == 1000
    assert int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) > 50_000


async def probe_truncated(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    _, body = await get(client, export)
    with pytest.raises(EOFError):
        gzip.decompress(body)


async def probe_corrupt(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    _, damaged = await get(client, export)
    _, whole = await get(client, export)
    assert len(damaged) == len(whole)
    assert sum(a != b for a, b in zip(damaged, whole, strict=True)) == 1


async def probe_mangled(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    _, body = await get(client, export)
    assert gzip.decompress(body).startswith(b'{"MODELID": "gemma')


async def probe_bomb(standin: Standin, client: aiohttp.ClientSession, api: str, export: str) -> None:
    _, bomb = await get(client, export)
    _, whole = await get(client, export)
    assert len(gzip.decompress(bomb)) == len(gzip.decompress(whole)) + 3_000_000
    assert len(bomb) < len(whole) + 200_000


@pytest.mark.parametrize(
    ("action", "probe"),
    [
        (TooMany(retry_after=7), probe_429),
        (Respond(302, {"Location": "https://elsewhere/"}, b"moved"), probe_respond),
        (Gone(), probe_gone),
        (NoAnswer(), probe_silence),
        (Stall(100), probe_stall),
        (Reset(100), probe_reset),
        (ShortBody(1000), probe_short),
        (TruncateGzip(-8), probe_truncated),
        (CorruptGzip(), probe_corrupt),
        (Mangle(lambda lines: lines.replace(b"modelId", b"MODELID")), probe_mangled),
        (Oversize(3_000_000), probe_bomb),
    ],
    ids=lambda value: type(value).__name__ if not callable(value) else "",
)
def test_a_fault_hits_once_and_then_all_is_well(action: Action, probe: Probe) -> None:
    async def exchange() -> None:
        world = make_world()
        plant(world, 0, "alive")
        async with serving(world, faults=[Fault(action)]) as (standin, client):
            api = f"{standin.api_url}{FEATURE_PATH}/0"
            export = f"{standin.export_url}/{EXPORT_PREFIX}/features/batch-0.jsonl.gz"
            await probe(standin, client, api, export)
            assert standin.faults[0].n_hit == 1
            status, body = await get(client, api)
            assert (status, json.loads(body)["index"]) == (200, "0")
            status, body = await get(client, export)
            assert status == 200
            assert gzip.decompress(body).startswith(b'{"modelId"')

    asyncio.run(exchange())


def test_a_fault_counts_skips_and_matches_on_the_body() -> None:
    async def exchange() -> list[int]:
        wants_five = Fault(
            Respond(503), match=lambda record: any(e["index"] == 5 for e in record.json() or ()), times=2, skip=1
        )
        async with serving(make_world(), faults=[wants_five]) as (standin, client):
            statuses = []
            for indices in ((5,), (4,), (4, 5), (5,), (5, 6)):
                async with client.post(f"{standin.api_url}/api/features", json=ask(*indices)) as response:
                    statuses.append(response.status)
            return statuses

    assert asyncio.run(exchange()) == [200, 200, 503, 503, 200]


def test_a_refusal_by_a_fault_is_not_counted_by_the_limiter() -> None:
    async def exchange() -> list[int]:
        faults = [Fault(TooMany(), match="GET /api/feature/", times=3)]
        async with serving(make_world(), faults=faults, api_limit=2) as (standin, client):
            return [(await get(client, f"{standin.api_url}{FEATURE_PATH}/0"))[0] for _ in range(6)]

    assert asyncio.run(exchange()) == [429, 429, 429, 200, 200, 429]


def test_probability_is_drawn_from_the_seed() -> None:
    async def exchange() -> list[int]:
        async with serving(make_world(), faults=[Fault(Respond(500), times=None, probability=0.5)]) as (s, client):
            return [(await get(client, f"{s.api_url}/api/nope"))[0] for _ in range(40)]

    first, second = asyncio.run(exchange()), asyncio.run(exchange())
    assert first == second
    assert 10 < first.count(500) < 30


def test_it_logs_what_was_asked_and_how_much_at_once() -> None:
    async def exchange() -> tuple[Standin, dict[str, Any]]:
        async with serving(make_world(), latency_s=0.05, key="secret") as (standin, client):
            urls = [f"{standin.api_url}{FEATURE_PATH}/{index}?a=b" for index in range(5)]
            bodies = await asyncio.gather(*(get(client, url) for url in urls))
            await client.get(f"{standin.export_url}/?list-type=2&prefix=none", headers={"x-api-key": "secret"})
            async with client.get(f"{standin.api_url}/-/stats") as response:
                stats = await response.json()
            assert stats["bytes_sent"] - sum(len(body) for _, body in bodies) in range(1000)
            return standin, stats

    standin, stats = asyncio.run(exchange())
    assert [standin.knows(record) for record in standin.requests] == [False] * 5 + [True]
    assert {record.path for record in standin.requests[:5]} == {f"{FEATURE_PATH}/{index}?a=b" for index in range(5)}
    assert {(record.origin, record.method, record.status) for record in standin.requests} == {
        ("api", "GET", 200),
        ("export", "GET", 200),
    }
    assert (stats["requests"], stats["max_in_flight"]) == (6, 5)
    assert stats["by_path"] == {"GET /api/feature": 5, "POST /api/features": 0, "LIST": 1, "OBJECT": 0}


def test_a_delay_holds_back_the_answer() -> None:
    async def exchange() -> None:
        async with serving(make_world(), faults=[Fault(Delay(0.2))]) as (standin, client):
            url = f"{standin.api_url}{FEATURE_PATH}/0"
            slow = asyncio.create_task(get(client, url))
            await asyncio.sleep(0.05)
            assert (await get(client, url))[0] == 200
            assert not slow.done()
            assert (await slow)[0] == 200

    asyncio.run(exchange())


def test_it_runs_in_a_thread_for_callers_that_are_not_async() -> None:
    with Standin(make_world()) as standin:
        with urllib.request.urlopen(f"{standin.api_url}{FEATURE_PATH}/1") as response:
            assert json.load(response)["index"] == "1"
        assert standin.api_url.rpartition(":")[2] != standin.export_url.rpartition(":")[2]
    with pytest.raises(OSError):
        urllib.request.urlopen(standin.api_url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "standin", "--source", "m/s=50", "--ready-file", str(ready), "--prebuild"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        try:
            assert json.loads(ready.read_text()) == said
            assert said["pid"] == process.pid
            with urllib.request.urlopen(f"{said['api_url']}/api/feature/m/s/49") as response:
                assert json.load(response)["index"] == "49"
            with urllib.request.urlopen(f"{said['export_url']}/v1/m/s/source.jsonl") as response:
                assert json.load(response)["saelensConfig"]["d_sae"] == 50
        finally:
            process.send_signal(number)
            _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.iterdir()) == [ready]


def test_it_imports_nothing_of_the_code_that_it_tests() -> None:
    for path in Path(str(standin_package.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(name.startswith("standin") for name in names if name.startswith("saefetch")), path
