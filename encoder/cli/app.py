"""Commands, flags and help. Nothing heavy is imported here: `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import saefetch
from saefetch.terminal.program import new_app

if TYPE_CHECKING:
    from encoder.options import Options

EXAMPLES = """\b
Examples:
  sae-encode run activations/ --out features       with the default SAE: GemmaScope 2B, layer 16
  sae-encode run acts.npy --out features --sae-path params.npz
  sae-encode stats features
  sae-encode index features                        by feature: where each one fires; the dashboard uses it
  sae-encode submit activations/ --queue queue     then, as often as you like, here or elsewhere:
  sae-encode work --queue queue

\b
Defaults come from config/encoder.toml and SAE_ENCODE_* environment variables.
An SAE is named by --sae-release and --sae-id, as SAELens knows it, or by --sae-path: a SAELens folder,
or a GemmaScope params.npz."""

RUN_EXAMPLES = """\b
INPUT is a file or a folder: .npy, .safetensors, .pt, SAELens, dictionary_learning and other stores.
Examples:
  sae-encode run activations/ --out features
  sae-encode run activations/ --out features --sae-release gpt2-small-res-jb --sae-id blocks.8.hook_resid_pre
  sae-encode run capture.pt --out features --select layer=16,component=residual
  sae-encode run activations/ --out features --workers 2 --values float16

\b
Exit status: 0 all done, 1 some shards failed, 2 bad usage, 130 interrupted by Ctrl-C, 143 by SIGTERM."""

WORK_EXAMPLES = """\b
Examples:
  sae-encode work --queue queue                    until the queue is done
  sae-encode work --queue queue --watch            for ever, and take what is dropped into queue/inbox/
Killing it is safe at any instant: what it was at goes back to the queue."""

INDEX_EXAMPLES = """\b
Examples:
  sae-encode index features
  sae-encode index features --memory-mb 64
Where DIR/features.csc is of the shards that are there, nothing is done."""

app = new_app("sae-encode")

Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Activation files, or folders of them.")]
QueueDir = Annotated[Path, typer.Option("--queue", metavar="DIR", help="The queue's folder.")]
Release = Annotated[str | None, typer.Option("--sae-release", metavar="R", help="SAELens release.")]
SaeId = Annotated[str | None, typer.Option("--sae-id", metavar="ID", help="SAELens id within the release.")]
SaePath = Annotated[
    Path | None, typer.Option("--sae-path", metavar="DIR_OR_NPZ", help="SAELens folder, or params.npz.")
]
Device = Annotated[
    str | None, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where to compute.  [default: auto]")
]
BatchTokens = Annotated[int | None, typer.Option(metavar="N", help="Rows at a time.  [default: 4096]")]
FLOAT16 = "float16: half the size, but scipy cannot compute with it; open_features gives float32.  [default: float32]"
ValuesOption = Annotated[str | None, typer.Option("--values", metavar="float32|float16", help=FLOAT16)]
ExcludeTokens = Annotated[
    str | None, typer.Option(metavar="ID,...", help="Rows of these token ids do not count in any figure.")
]
ExcludeFirst = Annotated[int | None, typer.Option(metavar="N", help="The first N of each document do not count.")]
ExcludeNorm = Annotated[
    float | None, typer.Option(metavar="X", help="Nor do rows of over X times the shard's median norm.")
]
Select = Annotated[
    str | None, typer.Option(metavar="...", help="Which tensor: layer=16,component=residual, or a name.")
]
Axes = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="An array's axes, of layer, document, token, head, d.")
]
Prefix = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Results are named NAME__..., as if INPUT were in a folder NAME."),
]
Backend = Annotated[
    str | None, typer.Option(metavar="auto|reference|cpu|triton", help="Which kernel.  [default: auto]")
]
FoldDecoderNorm = Annotated[
    bool, typer.Option("--fold-decoder-norm", help="Values in Neuronpedia's scale: times the decoder rows' norms.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file with defaults.")]


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> None:
    """Activation shards to sparse SAE features: exactly the float64-true active set."""
    if version:
        typer.echo(f"sae-encode {saefetch.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command(short_help="Encode shards; run it again to resume.", epilog=RUN_EXAMPLES)
def run(
    inputs: Inputs,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the features go, one .npz a shard.")],
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePath = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Worker processes.  [default: 1]")] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Activations that do not look like the SAE's, and files that are not read, are an error."
        ),
    ] = False,
    device: Device = None,
    batch_tokens: BatchTokens = None,
    values: ValuesOption = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    prefix: Prefix = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    backend: Backend = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Encode shards: submit them, work until all are done, say how it went. Run it again to resume."""
    options = _options(
        config,
        device=device,
        batch_tokens=batch_tokens,
        values=values,
        fold_decoder_norm=fold_decoder_norm or None,
        backend=backend,
        workers=workers,
        strict=strict or None,
        exclude_tokens=exclude_tokens,
        exclude_first=exclude_first,
        exclude_norm=exclude_norm,
    )
    sae = options.name_sae(sae_release, sae_id, sae_path)
    from encoder.cli.run import encode

    encode(inputs, out, sae, options, select, axes, prefix, as_json=json, quiet=quiet)


@app.command(short_help="Put shards on a queue.")
def submit(
    inputs: Inputs,
    queue: QueueDir,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the features go.  [default: QUEUE/out]")
    ] = None,
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePath = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    prefix: Prefix = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    config: Config = None,
) -> None:
    """Put shards on a queue; the files themselves are never moved or changed."""
    from encoder.cli.queue import submit as put

    options = _options(
        config,
        fold_decoder_norm=fold_decoder_norm or None,
        exclude_tokens=exclude_tokens,
        exclude_first=exclude_first,
        exclude_norm=exclude_norm,
    )
    put(inputs, queue, out, options.name_sae(sae_release, sae_id, sae_path), select, axes, prefix, options.exclude)


@app.command(short_help="Work on a queue, one process.", epilog=WORK_EXAMPLES)
def work(
    queue: QueueDir,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on for ever, and take what is dropped into inbox/.")
    ] = False,
    device: Device = None,
    batch_tokens: BatchTokens = None,
    values: ValuesOption = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    backend: Backend = None,
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePath = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Activations that do not look like the SAE's are an error.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    report: Annotated[str | None, typer.Option("--report", hidden=True)] = None,
    config: Config = None,
) -> None:
    """Work on a queue, one process. Start as many as you like, here or on machines that share the folder."""
    flags: dict[str, Any] = {"device": device, "batch_tokens": batch_tokens, "values": values, "backend": backend}
    flags["fold_decoder_norm"] = fold_decoder_norm or None
    flags |= {"exclude_tokens": exclude_tokens, "exclude_first": exclude_first, "exclude_norm": exclude_norm}
    options = _options(config, **flags, strict=strict or None) if report is None else _options_of(report)
    named = options.name_sae(sae_release, sae_id, sae_path) if sae_release or sae_id or sae_path else None
    from encoder.cli.work import work as work_on

    work_on(queue, options, named, select, axes, watching=watch, as_json=json, quiet=quiet, report=report is not None)


@app.command()
def status(queue: QueueDir, json: Json = False) -> None:
    """Show where every job of a queue is."""
    from encoder.cli.queue import status as show

    show(queue, as_json=json)


@app.command()
def retry(
    queue: QueueDir,
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB...", help="All if none is named.")] = None,
) -> None:
    """Put failed jobs back on the queue."""
    from encoder.cli.queue import retry as again

    again(queue, jobs)


@app.command(short_help="What a folder of features holds.")
def stats(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of features.")], json: Json = False
) -> None:
    """Show rows, L0, density, dead features and the SAE, per shard and in all."""
    from encoder.cli.stats import stats as show

    show(folder, as_json=json)


@app.command(short_help="Make a folder of features readable by feature.", epilog=INDEX_EXAMPLES)
def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of features.")],
    memory_mb: Annotated[int, typer.Option(metavar="N", min=1, help="Memory for the work.")] = 256,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write DIR/features.csc: where each feature fires, how strongly, and where most strongly."""
    from encoder.cli.index import index as make

    make(folder, memory_mb, as_json=json, quiet=quiet)


@app.command(short_help="What this machine computes with, and why.")
def info(device: Device = None, backend: Backend = None, json: Json = False, config: Config = None) -> None:
    """Show the libraries, the devices, which kernel is taken and in which precision its screen runs, and why."""
    options = _options(config, device=device, backend=backend)
    from encoder.cli.info import info as show

    show(options, as_json=json)


def _options(config: Path | None, **flags: Any) -> Options:
    from encoder.options import load_options  # takes pydantic along, which no help needs

    return load_options(config, **flags)


def _options_of(report: str) -> Options:
    from encoder.options import read_options

    return read_options(report)
