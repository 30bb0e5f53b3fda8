"""Commands, flags and help. Nothing heavy is imported here: `--help` answers at once.

Flags that have a setting are passed on as the text they are: `saefetch.settings` checks them, as it does the values of
the environment and of the TOML file.
"""

from __future__ import annotations

from typing import Annotated

import typer

import saefetch
from saefetch.cli.flags import (
    ApiUrl,
    BatchSize,
    Concurrency,
    Config,
    DataDir,
    ExportUrl,
    Json,
    MaxAttempts,
    MaxWait,
    NeuronpediaId,
    Quiet,
    Rate,
    Refresh,
    Release,
    SaeId,
    SaeIds,
    Source,
)
from saefetch.cli.jobs_app import jobs
from saefetch.cli.serve_app import EXAMPLES as SERVE_EXAMPLES
from saefetch.cli.serve_app import serve
from saefetch.terminal.program import new_app

app = new_app("saefetch")

EXAMPLES = """\b
Examples:
  saefetch download                          the default SAE: GemmaScope 2B, layer 16, 16,384 features
  saefetch search dogs                       find features by their labels
  saefetch list gemma-scope 16k              which SAEs there are
  saefetch download --sae-id 'layer_*/width_16k/canonical'

\b
Defaults come from config/saefetch.toml and SAEFETCH_* environment variables.
NEURONPEDIA_API_KEY is optional and only ever sent to Neuronpedia."""

DOWNLOAD_EXAMPLES = """\b
Examples:
  saefetch download
  saefetch download --sae-release gemma-scope-2b-pt-res-canonical \\
                    --sae-id layer_5/width_16k/canonical
  saefetch download --sae-id 'layer_*/width_16k/canonical'    all 26 layers
  saefetch download --neuronpedia-id gemma-2-2b/5-gemmascope-res-16k
  saefetch download --neuronpedia-id https://www.neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k
  saefetch download --source batch --features 0:1000

\b
Exit status: 0 all features accounted for, 1 some failed (run it again),
2 bad usage, 3 refused by the server, 4 already being downloaded,
130 interrupted by Ctrl-C, 143 by SIGTERM."""

SEARCH_EXAMPLES = """\b
QUERY is words, a beginning such as dog*, or a "phrase". Examples:
  saefetch search dogs cats
  saefetch search 'python* import'
  saefetch search '"United States"' --limit 50"""

SHOW_EXAMPLES = """\b
INDEX is a feature's number. Examples:
  saefetch show 42
  saefetch show 42 1000 --json"""

LIST_EXAMPLES = """\b
PATTERN is words that must all occur, or globs. Examples:
  saefetch list gemma-scope 16k
  saefetch list 'gpt2*'
  saefetch list gemma-2-2b --json
  saefetch list --all qwen-scope             also those without labels"""

STATUS_EXAMPLES = """\b
Examples:
  saefetch status
  saefetch status --data-dir /data/sae --json"""

VERIFY_EXAMPLES = """\b
Examples:
  saefetch verify
  saefetch verify --sae-id layer_5/width_16k/canonical
Exit status: 0 sound, 1 something is wrong, and what."""


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> None:
    """Every feature label of a sparse autoencoder (SAE) from Neuronpedia: complete, polite, resumable."""
    if version:
        typer.echo(f"saefetch {saefetch.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command(short_help="Get an SAE's labels; run it again to resume.", epilog=DOWNLOAD_EXAMPLES)
def download(
    sae_release: Release = None,
    sae_id: SaeIds = None,
    neuronpedia_id: NeuronpediaId = None,
    num_features: Annotated[
        str | None, typer.Option(metavar="N", help="Number of features, where the registry has it wrong or not.")
    ] = None,
    source: Source = None,
    features: Annotated[str | None, typer.Option(metavar="A:B", help="Just features A to B-1.")] = None,
    refresh: Refresh = False,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    export_url: ExportUrl = None,
    requests_per_second: Rate = None,
    concurrency: Concurrency = None,
    batch_size: BatchSize = None,
    max_attempts: MaxAttempts = None,
    max_wait_s: MaxWait = None,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Get all labels of an SAE, or of many.

    Ctrl-C is safe at any moment, and so is kill -9: the same command goes on where it stopped.
    """
    flags = {
        "sae_release": sae_release,
        "sae_id": sae_id,
        "neuronpedia_id": neuronpedia_id,
        "num_features": num_features,
        "source": source,
        "data_dir": data_dir,
        "api_url": api_url,
        "export_url": export_url,
        "requests_per_second": requests_per_second,
        "concurrency": concurrency,
        "batch_size": batch_size,
        "max_attempts": max_attempts,
        "max_wait_s": max_wait_s,
    }
    from saefetch.cli.download import run

    run(flags, features=features, refresh=refresh, config=config, as_json=json, quiet=quiet)


@app.command(short_help="What is here, and what resuming would do.", epilog=STATUS_EXAMPLES)
def status(data_dir: DataDir = None, config: Config = None, json: Json = False) -> None:
    """Show every SAE under the data folder: complete, missing, failed, and what resuming would do."""
    from saefetch.cli.inspect import status as run

    run(data_dir, config, as_json=json)


@app.command(short_help="Find features by their labels.", epilog=SEARCH_EXAMPLES)
def search(
    query: Annotated[list[str], typer.Argument(metavar="QUERY", hidden=True)],
    sae_release: Release = None,
    sae_id: SaeId = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many results.", show_default=False)
    ] = 10,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Search the labels of an SAE, the best match first."""
    from saefetch.cli.read import search as run

    run(" ".join(query), sae_release, sae_id, limit, data_dir, config, as_json=json)


@app.command(short_help="Show features in full.", epilog=SHOW_EXAMPLES)
def show(
    index: Annotated[list[int], typer.Argument(metavar="INDEX", hidden=True)],
    sae_release: Release = None,
    sae_id: SaeId = None,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show features in full: every explanation, the top tokens, the largest activation."""
    from saefetch.cli.read import show as run

    run(index, sae_release, sae_id, data_dir, config, as_json=json)


@app.command(name="list", short_help="The SAEs that can be downloaded by name.", epilog=LIST_EXAMPLES)
def list_(
    pattern: Annotated[list[str] | None, typer.Argument(metavar="PATTERN", hidden=True)] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also SAEs without labels on Neuronpedia, with loader and hook.")
    ] = False,
    json: Json = False,
) -> None:
    """List the SAEs that SAELens' registry maps to Neuronpedia."""
    from saefetch.cli.listing import run

    run(" ".join(pattern) if pattern else None, everything=everything, as_json=json)


@app.command(short_help="Re-check finished downloads against their stores.", epilog=VERIFY_EXAMPLES)
def verify(
    sae_release: Release = None,
    sae_id: SaeId = None,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Re-check finished downloads against their stores: all of them, or the SAE named."""
    from saefetch.cli.inspect import verify as run

    run(sae_release, sae_id, data_dir, config, as_json=json)


app.command(short_help="A service that fetches labels for everybody.", epilog=SERVE_EXAMPLES)(serve)
app.add_typer(jobs, name="jobs", short_help="Ask a running service; see how far it is.")
