"""Serve the files of Hugging Face repositories on loopback, as far as `hf_hub_download` asks for them.

    python -m standin.hub --repo google/gemma-scope-2b-pt-res --root DIR
    HF_ENDPOINT=http://127.0.0.1:PORT

`DIR/layer_16/.../params.npz` is what the repository has under that path. With `--repo '*'` there are many
repositories, `DIR/OWNER/NAME`. When it is ready, one JSON line
`{"endpoint", "pid"}` goes to stdout and, atomically, to `--ready-file`. HEAD, GET and ranges are answered, with the
headers that huggingface_hub goes by: X-Repo-Commit, ETag and Content-Length.
"""

import argparse
import asyncio
import hashlib
import signal
import sys
from pathlib import Path

from aiohttp import web

from standin.ready import announce


def make_app(repo: str, root: Path) -> web.Application:
    """Make the server of what lies below `root`."""
    root = root.resolve()

    async def resolve(request: web.Request) -> web.StreamResponse:
        asked = request.match_info["repo"]
        files = root / asked if repo == "*" else root
        found = (files / request.match_info["path"]).resolve()
        if not (files.is_dir() and files.resolve().is_relative_to(root)) or asked != (asked if repo == "*" else repo):
            return _refusal(401, "RepoNotFound", "Repository not found")
        if not found.is_relative_to(files) or not found.is_file():
            return _refusal(404, "EntryNotFound", "Entry not found", commit=_commit(files))
        return web.FileResponse(found, headers={"X-Repo-Commit": _commit(files)})  # its ETag is mtime and size

    app = web.Application()
    app.router.add_get("/{repo:[^/]+/[^/]+}/resolve/{revision}/{path:.+}", resolve)  # HEAD too
    return app


def _commit(root: Path) -> str:
    """Name the state of the repository: 40 hexadecimal digits that change when a file does."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in sorted(root.rglob("*")):
        status = path.stat()
        digest.update(f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _refusal(status: int, code: str, message: str, commit: str | None = None) -> web.Response:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return web.Response(status=status, text=message, headers=headers | ({"X-Repo-Commit": commit} if commit else {}))


async def serve(repo: str, root: Path, port: int, ready_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(make_app(repo, root), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        announce({"endpoint": f"http://127.0.0.1:{runner.addresses[0][1]}"}, ready_file)
        await stopped.wait()
    finally:
        await runner.cleanup()


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m standin.hub", description="A stand-in for Hugging Face.")
    parser.add_argument(
        "--repo", required=True, metavar="OWNER/NAME", help="the one repository that there is; * for many"
    )
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="its files")
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    parser.add_argument("--ready-file", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    _args = parse_args(sys.argv[1:])
    asyncio.run(serve(_args.repo, _args.root, _args.port, _args.ready_file))
