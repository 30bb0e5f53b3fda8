"""Commands, flags and help of `saefetch jobs`. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saefetch.cli.flags import Json, NeuronpediaId, Quiet, Refresh, Release, SaeIds, Source
from saefetch.terminal.program import new_app

jobs = new_app("jobs")

EXAMPLES = """\b
Examples:
  saefetch serve                                       in another terminal, or as a system's service
  saefetch jobs add --sae-id 'layer_*/width_16k/canonical'
  saefetch jobs watch                                  until all of them have ended
  saefetch jobs list --state failed
  saefetch jobs retry 3 17

\b
The service is the one at http://127.0.0.1:8764, or at --url. Its token, if it wants one, is read
from --token-file, or from the variable SAEFETCH_TOKEN, and is sent to that address only.
Exit status: 0 done, 1 a job failed, or no service answers, 2 bad usage, an SAE or job that nobody
knows, 3 refused by the service: token, origin."""

ADD_EXAMPLES = """\b
The names are those of `saefetch download`; without any, the service's default SAE. Examples:
  saefetch jobs add --sae-id 'layer_*/width_16k/canonical'     26 jobs
  saefetch jobs add --neuronpedia-id gemma-2-2b/5-gemmascope-res-16k
  saefetch jobs add --refresh                                  look for changes"""

LIST_EXAMPLES = """\b
Examples:
  saefetch jobs list
  saefetch jobs list --state failed --json
  saefetch jobs list | cut -f1                  tab-separated where it is no terminal"""

WATCH_EXAMPLES = """\b
Without ID, the jobs that have not ended. A service that is restarted meanwhile is waited for.
Exit status: 0 all are done, 1 one failed or was cancelled; of the job's error it says no more than
that. 130 after Ctrl-C, which ends the watching and no job."""

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The service.  [default: http://127.0.0.1:8764]")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="Where the service's token is.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", hidden=True)]


@jobs.callback(invoke_without_command=True, epilog=EXAMPLES)
def root(context: typer.Context) -> None:
    """Have a running service fetch labels, and see how far it is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@jobs.command(short_help="Ask for the labels of an SAE, or of many.", epilog=ADD_EXAMPLES)
def add(
    sae_release: Release = None,
    sae_id: SaeIds = None,
    neuronpedia_id: NeuronpediaId = None,
    num_features: Annotated[
        int | None, typer.Option(metavar="N", help="Number of features, where the registry has it wrong or not.")
    ] = None,
    source: Source = None,
    refresh: Refresh = False,
    url: Url = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> int:
    """Ask for the labels of an SAE, or of many, and print the jobs. Asking twice makes one job."""
    wish = {
        "sae_release": sae_release,
        "sae_id": sae_id,
        "neuronpedia_id": neuronpedia_id,
        "num_features": num_features,
        "source": source,
        "refresh": refresh or None,
    }
    from saefetch.cli.jobs import add as run

    return run(wish, url, token_file, as_json=json)


@jobs.command(name="list", short_help="The jobs, the latest first.", epilog=LIST_EXAMPLES)
def list_(
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="queued, running, done, failed or cancelled.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many.  [default: 50]", show_default=False)
    ] = 50,
    url: Url = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> int:
    """List the jobs, the latest first: state, features, SAE, and what is wrong or waited for."""
    from saefetch.cli.jobs import list_ as run

    return run(state, limit, url, token_file, as_json=json)


@jobs.command(short_help="One job in full.")
def show(job_id: Ids, url: Url = None, token_file: TokenFile = None, json: Json = False) -> int:
    """Show jobs in full."""
    from saefetch.cli.jobs import show as run

    return run(job_id, url, token_file, as_json=json)


@jobs.command(short_help="Cancel jobs; what was fetched stays.")
def cancel(job_id: Ids, url: Url = None, token_file: TokenFile = None, json: Json = False) -> int:
    """Cancel jobs that have not ended. What was fetched stays."""
    from saefetch.cli.jobs import cancel as run

    return run(job_id, url, token_file, as_json=json)


@jobs.command(short_help="Try failed and cancelled jobs again.")
def retry(job_id: Ids, url: Url = None, token_file: TokenFile = None, json: Json = False) -> int:
    """Put failed and cancelled jobs back into the queue. Only what is missing is fetched."""
    from saefetch.cli.jobs import retry as run

    return run(job_id, url, token_file, as_json=json)


@jobs.command(short_help="See jobs' progress until they have ended.", epilog=WATCH_EXAMPLES)
def watch(
    job_id: Annotated[list[str] | None, typer.Argument(metavar="ID", hidden=True)] = None,
    url: Url = None,
    token_file: TokenFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show the progress of jobs until all have ended. Ctrl-C ends the watching only."""
    from saefetch.cli.jobs import watch as run

    return run(job_id or [], url, token_file, as_json=json, quiet=quiet)
