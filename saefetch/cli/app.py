"""Commands, flags and help. Nothing heavy is imported here: `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import saefetch
from saefetch.errors import SaefetchError

app = typer.Typer(
    name="saefetch",
    help="Every feature label of a sparse autoencoder (SAE) from Neuronpedia: complete, polite, resumable.",
    epilog="First time? Run: saefetch download   Then: saefetch search 'dogs'",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Release = Annotated[str | None, typer.Option("--sae-release", metavar="R", help="SAELens release.")]
SaeId = Annotated[str | None, typer.Option("--sae-id", metavar="ID", help="SAELens id within the release.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where labels are kept.  [default: sae]")
]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file with defaults.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"saefetch {saefetch.__version__}")
        raise typer.Exit


@app.command()
def download(
    sae_release: Release = None,
    sae_id: Annotated[
        str | None,
        typer.Option(
            "--sae-id", metavar="ID", help="SAELens id; a pattern such as 'layer_*/width_16k/canonical' for many."
        ),
    ] = None,
    neuronpedia_id: Annotated[
        str | None, typer.Option(metavar="MODEL/SOURCE", help="For an SAE that SAELens' registry does not map.")
    ] = None,
    num_features: Annotated[int | None, typer.Option(metavar="N", help="Number of features of the SAE.")] = None,
    source: Annotated[
        str | None, typer.Option(metavar="auto|export|batch|feature", help="Where from.  [default: auto]")
    ] = None,
    features: Annotated[str | None, typer.Option(metavar="A:B", help="Just features A to B-1.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Look for changes since the last download.")] = False,
    data_dir: DataDir = None,
    api_url: Annotated[str | None, typer.Option(metavar="URL", help="Neuronpedia, or a stand-in.")] = None,
    export_url: Annotated[str | None, typer.Option(metavar="URL", help="The bulk export's bucket.")] = None,
    requests_per_second: Annotated[
        float | None, typer.Option(metavar="X", help="Bound on all requests.  [default: 20 API, 200 export]")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", help="Requests in flight.  [default: 8]")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Features a request, source batch.  [default: 100]")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(metavar="N", help="Tries of a request.  [default: 6]")] = None,
    max_wait_s: Annotated[
        float | None, typer.Option(metavar="S", help="Longest wait for the server's permission.  [default: 3900]")
    ] = None,
    config: Config = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
) -> None:
    """Download an SAE's labels; run it again to resume. Ctrl-C is safe at any moment."""
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


@app.command()
def status(data_dir: DataDir = None, config: Config = None, json: Json = False) -> None:
    """Show every SAE under the data folder: complete, missing, failed, and what resuming would do."""
    from saefetch.cli.inspect import status as run

    run(data_dir, config, as_json=json)


@app.command()
def search(
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help='Words, a beginning such as dog*, a "phrase".')],
    sae_release: Release = None,
    sae_id: SaeId = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many results.")] = 10,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Search the labels, the best match first."""
    from saefetch.cli.read import search as run

    run(" ".join(query), sae_release, sae_id, limit, data_dir, config, as_json=json)


@app.command()
def show(
    index: Annotated[list[int], typer.Argument(metavar="INDEX...", help="Feature numbers.")],
    sae_release: Release = None,
    sae_id: SaeId = None,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show features in full: every explanation, the top tokens, the largest activation."""
    from saefetch.cli.read import show as run

    run(index, sae_release, sae_id, data_dir, config, as_json=json)


@app.command(name="list")
def list_(
    pattern: Annotated[
        list[str] | None, typer.Argument(metavar="PATTERN", help="Words or a glob, such as: gemma-scope 16k")
    ] = None,
    json: Json = False,
) -> None:
    """List the SAEs that SAELens' registry maps to Neuronpedia."""
    from saefetch.cli.listing import run

    run(" ".join(pattern) if pattern else None, as_json=json)


@app.command()
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


def main() -> None:
    """Run the command line. Every error of ours is one line on stderr and its own exit status."""
    try:
        app()
    except SaefetchError as exc:
        print(f"saefetch: {exc}", file=sys.stderr)
        sys.exit(exc.exit_status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        print("saefetch: interrupted", file=sys.stderr)
        sys.exit(130)
