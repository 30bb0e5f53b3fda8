"""Serve a made-up Neuronpedia on loopback: `python -m standin`.

When it is ready, one JSON line `{"api_url", "export_url", "pid"}` goes to stdout and, atomically, to `--ready-file`.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from standin.ready import announce
from standin.server import Standin
from standin.world import World

DEFAULT_SOURCE = "gemma-2-2b/16-gemmascope-res-16k=16384"


def parse_source(text: str) -> tuple[str, str, int]:
    """Parse MODEL/SOURCE=N."""
    place, _, count = text.partition("=")
    model_id, _, source_id = place.partition("/")
    if not (model_id and source_id and count.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected MODEL/SOURCE=N, such as {DEFAULT_SOURCE}, got {text!r}")
    return model_id, source_id, int(count)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m standin", description="A stand-in for Neuronpedia.")
    parser.add_argument("--port", type=int, default=0, help="of the API; 0 is any free one")
    parser.add_argument("--export-port", type=int, default=0, help="of the bulk export's bucket")
    parser.add_argument("--labels", type=Path, help="gzip of JSON lines with modelId, layer, index, description")
    parser.add_argument("--features", type=Path, help="gzip of JSON lines, whole features of one of the sources")
    parser.add_argument("--source", type=parse_source, action="append", metavar="MODEL/SOURCE=N", dest="sources")
    parser.add_argument("--layers", type=int, default=0, metavar="N", help="add gemma-2-2b/{0..N-1}-gemmascope-res-16k")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--spool", type=Path, help="keep the export's objects in this folder, not in memory")
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--lean", action="store_true", help="short rows, for very wide sources")
    parser.add_argument("--prebuild", action="store_true", help="build the export before being ready")
    return parser.parse_args(argv)


def make_standin(args: argparse.Namespace) -> Standin:
    """Make the world and the server that the arguments describe."""
    world = World(args.seed, args.labels)
    layers = [("gemma-2-2b", f"{layer}-gemmascope-res-16k", 16_384) for layer in range(args.layers)]
    for model_id, source_id, n_features in (args.sources or []) + layers or [parse_source(DEFAULT_SOURCE)]:
        world.add_source(model_id, source_id, n_features)
    if args.features:
        world.plant(args.features)
    return Standin(
        world,
        port=args.port,
        export_port=args.export_port,
        latency_s=args.latency_ms / 1000,
        spool=args.spool,
        lean=args.lean,
    )


async def serve(standin: Standin, ready_file: Path | None, prebuild: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if prebuild:
        await asyncio.to_thread(standin.bucket.objects, "v1/")
    async with standin:
        announce({"api_url": standin.api_url, "export_url": standin.export_url}, ready_file)
        await stopped.wait()


if __name__ == "__main__":
    _args = parse_args(sys.argv[1:])
    asyncio.run(serve(make_standin(_args), _args.ready_file, _args.prebuild))
