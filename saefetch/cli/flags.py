"""Flags that several commands have, with their help. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Release = Annotated[str | None, typer.Option("--sae-release", metavar="R", help="SAELens release.")]
SaeId = Annotated[str | None, typer.Option("--sae-id", metavar="ID", help="SAELens id within the release.")]
SaeIds = Annotated[
    str | None, typer.Option("--sae-id", metavar="ID", help="SAELens id; a pattern in quotes for many SAEs.")
]
NeuronpediaId = Annotated[
    str | None, typer.Option(metavar="MODEL/SOURCE", help="Neuronpedia's own name, or its page's address.")
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Look for changes since the last download.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where labels are kept.  [default: sae]")
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML defaults.  [default: config/saefetch.toml]")
]
Source = Annotated[str | None, typer.Option(metavar="NAME", help="auto, export, batch or feature.  [default: auto]")]
ApiUrl = Annotated[str | None, typer.Option(metavar="URL", help="Neuronpedia, or a stand-in.")]
ExportUrl = Annotated[str | None, typer.Option(metavar="URL", help="The bulk export's bucket.")]
Rate = Annotated[str | None, typer.Option(metavar="X", help="Bound on all requests.  [default: 20 API, 200 export]")]
Concurrency = Annotated[str | None, typer.Option(metavar="N", help="Requests in flight.  [default: 8]")]
BatchSize = Annotated[str | None, typer.Option(metavar="N", help="Features a request, source batch.  [default: 100]")]
MaxAttempts = Annotated[str | None, typer.Option(metavar="N", help="Tries of a request.  [default: 6]")]
MaxWait = Annotated[str | None, typer.Option(metavar="S", help="Longest wait when told to wait.  [default: 3900]")]
