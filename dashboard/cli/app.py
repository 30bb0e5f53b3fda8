"""Flags and help. Nothing heavy is imported here: `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import saefetch
from encoder.stores.object_path import path_of
from saefetch.terminal.program import new_app

EXAMPLES = """\b
Examples:
  sae-dashboard                                    ./sae and ./features, at http://127.0.0.1:8765/
  sae-dashboard --features queue/out --queue queue --open
  sae-dashboard --features features --static out   files to send to a colleague
  sae-dashboard --host 0.0.0.0                     seen from other machines, by whoever has the token
  sae-dashboard --jobs                             and fetch labels from its page Jobs
  sae-dashboard --allow-host hub.example.org --base-path /user/me/proxy/8765/    behind JupyterHub

\b
Without --jobs it only reads. Labels and features may be written meanwhile. Ctrl-C ends it; jobs that
ran then go on the next time.
Exit status: 0 --static is done, 2 bad usage or a damaged file, 4 --jobs beside another service of the
data folder, 130 ended by Ctrl-C, 143 by SIGTERM."""

app = new_app("sae-dashboard")


@app.command(name="sae-dashboard", epilog=EXAMPLES)
def dashboard(
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Labels.  [default: sae]")] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(parser=path_of, metavar="DIR", help="Features; may be given again.  [default: features]"),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="DIR", help="That of `sae-encode index --out`.  [default: as features]"),
    ] = None,
    queue: Annotated[Path | None, typer.Option(metavar="DIR", help="A queue of sae-encode, to watch.")] = None,
    sae_release: Annotated[str | None, typer.Option(metavar="R", help="Whose labels, if there are several.")] = None,
    sae_id: Annotated[str | None, typer.Option(metavar="ID", help="SAELens id within the release.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="For token ids without texts: tokenizer.json, its folder, or OWNER/NAME."),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Another than this needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes any that is free.")] = 8765,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Behind a proxy: the name in the browser's address.")
    ] = None,
    base_path: Annotated[
        str | None, typer.Option(metavar="/PATH/", help="And where the page lives there, such as /user/me/proxy/8765/.")
    ] = None,
    allow_frame: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="And whose pages may show it in a frame.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Fetch labels from here: `saefetch serve`, with a page of its own.")
    ] = False,
    static: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Do not serve: write a folder, or one file OUT.html, that opens without a server."
        ),
    ] = None,
    documents: Annotated[
        str | None, typer.Option(metavar="SEL", help="With --static: which documents, such as 0-9,12.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file with the labels' defaults.")] = None,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> int:
    """See which features fire on which token, and what they mean: a web page on this machine, for this machine."""
    if version:
        typer.echo(f"sae-dashboard {saefetch.__version__}")
        return 0
    from dashboard.cli.run import run

    return run(
        data_dir=data_dir,
        features=features,
        index=index,
        queue=queue,
        sae_release=sae_release,
        sae_id=sae_id,
        tokenizer=tokenizer,
        host=host,
        port=port,
        proxy=(allow_host, base_path, allow_frame),
        open_browser=open_,
        jobs=jobs,
        static=static,
        documents=documents,
        config=config,
    )
