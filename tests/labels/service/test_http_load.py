"""Many clients at once while jobs run: each stream tells every end, and no reader is told that what comes is never."""

import asyncio
import json
from pathlib import Path

import aiohttp
from harness import MODEL, RELEASE
from service_server import Served

from standin import Standin, World

N, N_STREAMS, N_READERS = 250, 200, 50
LAYERS = (0, 1, 2)
MISSING = frozenset({3, 77})


async def hear_the_ends(served: Served, opened: asyncio.Semaphore) -> set[str]:
    """Read a stream of events until as many jobs as there are have ended; return their ids."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 20)
    writer.write(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode())
    await reader.readuntil(b"retry: 2000\n\n")
    opened.release()
    ended: set[str] = set()
    while len(ended) < len(LAYERS):
        line = await reader.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: ") and (job := json.loads(line[6:]))["state"] == "done":
            ended.add(job["id"])
    writer.close()
    return ended


async def read(served: Served, session: aiohttp.ClientSession, first: int, all_ended: asyncio.Event) -> int:
    """Read features over and over until the jobs have ended, and once more; return how many answers there were."""
    here: set[int] = set()
    known: set[tuple[int, int]] = set()
    n, is_last = 0, False
    while not is_last:
        is_last = all_ended.is_set()
        for index in range(first, N, N_READERS):
            for layer in LAYERS:
                address = f"{served.url}/api/feature/{MODEL}/{layer}-gemmascope-res-16k/{index}"
                async with session.get(address) as answer:
                    document = await answer.json(content_type=None)
                n += 1
                if answer.status == 200:
                    assert document["index"] == str(index) and index not in MISSING
                    known.add((layer, index))
                elif answer.status == 404 and index not in MISSING:
                    assert layer not in here and "not available" in document["error"], "before the SAE is there at all"
                else:
                    assert answer.status in (404, 503) and (layer, index) not in known
                if answer.status != 404:
                    here.add(layer)
                assert not is_last or answer.status == (404 if index in MISSING else 200)
        await asyncio.sleep(0)
    return n


def test_streams_and_readers_while_jobs_run(tmp_path: Path) -> None:
    async def work() -> None:
        opened, all_ended = asyncio.Semaphore(0), asyncio.Event()
        streams = [asyncio.create_task(hear_the_ends(served, opened)) for _ in range(N_STREAMS)]
        for _ in streams:
            await opened.acquire()
        body = {
            "sae_release": RELEASE,
            "sae_id": "layer_[0-2]/width_16k/canonical",
            "num_features": N,
            "source": "batch",
        }
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=N_READERS)) as session:
            async with session.post(f"{served.url}/v1/jobs", json=body) as answer:
                assert answer.status == 202
            readers = [asyncio.create_task(read(served, session, n, all_ended)) for n in range(N_READERS)]
            for ended in await asyncio.gather(*streams):
                assert len(ended) == len(LAYERS)
            all_ended.set()
            assert sum(await asyncio.gather(*readers)) >= N * len(LAYERS)

    world = World()
    for layer in LAYERS:
        world.add_source(MODEL, f"{layer}-gemmascope-res-16k", N, missing=MISSING)
    with Standin(world, latency_s=0.01) as standin, Served(tmp_path / "sae", standin, batch_size=10) as served:
        asyncio.run(asyncio.wait_for(work(), 120))
