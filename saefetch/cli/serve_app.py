"""Flags and help of `saefetch serve`. Nothing heavy is imported before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saefetch.cli.flags import (
    ApiUrl,
    BatchSize,
    Concurrency,
    Config,
    DataDir,
    ExportUrl,
    MaxAttempts,
    MaxWait,
    Rate,
    Source,
)

EXAMPLES = """\b
Examples:
  saefetch serve                          then: saefetch jobs add --sae-id 'layer_*/width_16k/canonical'
  saefetch serve --data-dir /data/sae --refresh-every 7
  saefetch serve --host 0.0.0.0 --token-file token
docs/service.md has its routes, the mirror for existing clients, and a unit for systemd.

\b
Exit status: 2 bad usage, 4 the data folder has a service already, 130 ended by Ctrl-C, 143 by
SIGTERM: running jobs commit what came, and go on at the next start."""


def serve(
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Any but loopback needs a token.", show_default=False)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="PORT", help="0 takes a free one.  [default: 8764]", show_default=False),
    ] = 8764,
    data_dir: DataDir = None,
    jobs: Annotated[
        int,
        typer.Option(min=1, max=256, metavar="N", help="Jobs that run at a time.  [default: 3]", show_default=False),
    ] = 3,
    no_mirror: Annotated[bool, typer.Option("--no-mirror", help="Without Neuronpedia's own read routes.")] = False,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its one line is wanted of every request.")
    ] = None,
    refresh_every: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Look for changed labels that often.")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines, requests too.")] = False,
    source: Source = None,
    api_url: ApiUrl = None,
    export_url: ExportUrl = None,
    requests_per_second: Rate = None,
    concurrency: Concurrency = None,
    batch_size: BatchSize = None,
    max_attempts: MaxAttempts = None,
    max_wait_s: MaxWait = None,
    config: Config = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log only what goes wrong.")] = False,
) -> None:
    """Fetch labels for everybody: a queue of jobs that outlives this process, by HTTP.

    It also answers as Neuronpedia does, from what is here. kill -9 is safe: the next start goes on with every job.
    """
    flags = {
        "data_dir": data_dir,
        "source": source,
        "api_url": api_url,
        "export_url": export_url,
        "requests_per_second": requests_per_second,
        "concurrency": concurrency,
        "batch_size": batch_size,
        "max_attempts": max_attempts,
        "max_wait_s": max_wait_s,
    }
    from saefetch.cli.serve import every, run
    from saefetch.service.serve import Wanted

    wanted = Wanted(host, port, jobs, not no_mirror, token_file, every(refresh_every), log_requests=log_json)
    run(flags, config, wanted, log_json=log_json, quiet=quiet)
