"""`sae-dashboard`: from its flags to what is served or written."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.cli.saes import data_of, features_of
from dashboard.errors import DashboardError
from dashboard.export import export
from dashboard.model.data import Data, Settings
from dashboard.model.figures import figures_of
from dashboard.model.tokenizer import open_vocabulary
from dashboard.model.tokens import Vocabulary
from dashboard.page import WebFiles
from dashboard.server.proxy import Proxy
from dashboard.server.serve import serve
from dashboard.views.parameters import Parameters
from dashboard.views.summary import summary
from encoder.errors import EncoderError
from saefetch.cli.options import one_sae
from saefetch.errors import SaefetchError, StoreError
from saefetch.settings import load_settings
from saefetch.terminal.output import remark

if TYPE_CHECKING:
    from saefetch.service.service import Service


def run(
    *,
    data_dir: Path | None,
    features: list[Path] | None,
    index: Path | None,
    queue: Path | None,
    sae_release: str | None,
    sae_id: str | None,
    tokenizer: str | None,
    host: str,
    port: int,
    proxy: tuple[list[str] | None, str | None, list[str] | None],
    open_browser: bool,
    jobs: bool,
    static: Path | None,
    documents: str | None,
    config: Path | None,
) -> int:
    """Serve until interrupted, or write the static folder; return the exit status."""
    if documents is not None and static is None:
        raise DashboardError("--documents goes with --static; the page itself shows every document")
    if jobs and static is not None:
        raise DashboardError("--jobs needs a server, and --static makes a page without one")
    behind = Proxy.of(*proxy)
    root, *named = one_sae(sae_release, sae_id, data_dir, config)
    sae = named[0], named[1]
    is_named = sae_release is not None or sae_id is not None
    folders = features or [Path("features")]
    settings = Settings(root, folders[0], sae, sae if is_named else None, queue, None, jobs)
    vocabulary = Vocabulary() if tokenizer is None else open_vocabulary(tokenizer)
    if static is None:
        data = data_of(settings, folders, index, vocabulary)
    else:
        of_sae, of_index = features_of(folders[0], index, settings.named)
        data = Data(replace(settings, features=of_sae, index=of_index), vocabulary)
    with _damage_is_usage(), data.look() as look:
        for flag, path in (
            ("--data-dir", data_dir),
            *(("--features", one) for one in features or ()),
            ("--index", index),
            ("--queue", queue),
        ):
            if static is None and path is not None and not path.exists():
                remark(f"sae-dashboard: {flag} {path}: there is no such folder yet; it is waited for")
        if look.refusal:
            remark(f"sae-dashboard: no labels are shown: {look.refusal}")
        if static is not None:
            n_documents = export(look, static, documents, WebFiles())
            is_one = static.suffix == ".html"
            print(static if is_one else static / "index.html")
            what = "the file" if is_one else "the whole folder"
            remark(f"{n_documents:,} documents; open it in a browser, or send {what}")
            return 0

    def is_listening(address: str) -> None:
        _is_listening(data, address, open_browser)
        for name in behind.hosts:
            query = f"?{address.partition('?')[2]}"
            remark(
                f"behind the proxy: https://{name}{behind.base_path}/{query}, or http:// where it has no certificate"
            )

    status = asyncio.run(serve(data, host, port, is_listening, behind, _service(data_dir, config) if jobs else None))
    # Python would wait for a view that still goes through a billion values. It only reads, so nothing can be lost.
    os._exit(status)


def _service(data_dir: Path | None, config: Path | None) -> Service:
    from saefetch.downloading.order import api_key
    from saefetch.service import log
    from saefetch.service.service import Service

    log.set_up(as_json=False, quiet=True)
    return Service(load_settings({"data_dir": data_dir}, config), api_key=api_key())


@contextmanager
def _damage_is_usage() -> Iterator[None]:
    """Make a damaged file exit 2 at the start, as the user named its folder; later it is a 500 of one request."""
    try:
        yield
    except (EncoderError, StoreError) as exc:
        raise DashboardError(str(exc)) from exc


def _is_listening(data: Data, address: str, open_browser: bool) -> None:
    print(address, flush=True)
    threading.Thread(target=_warm, args=[data], daemon=True).start()
    if open_browser:
        import webbrowser

        webbrowser.open(address)


def _warm(data: Data) -> None:
    """Compute the answers that take a while and are kept, before the first page asks for them."""
    with suppress(SaefetchError), data.look() as look:  # the page's request will meet the error again, and show it
        summary(look, Parameters({}, ()))
        figures_of(look)
