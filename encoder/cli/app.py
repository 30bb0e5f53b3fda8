"""Commands, flags and help. Nothing heavy is imported here: `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import saefetch
from encoder.cli.examples import EXAMPLES, INDEX_EXAMPLES, RUN_EXAMPLES, TEMPLATE_EXAMPLES, WORK_EXAMPLES
from encoder.cli.flags import (
    Axes,
    Backend,
    BatchTokens,
    Config,
    Device,
    Dtype,
    EngineOption,
    ExcludeFirst,
    ExcludeNorm,
    ExcludeTokens,
    FeaturesDir,
    FoldDecoderNorm,
    Inputs,
    Json,
    NumCpus,
    NumGpus,
    OutDir,
    PartOption,
    Prefix,
    QueueDir,
    Quiet,
    RayAddress,
    Release,
    SaeId,
    SaePaths,
    SaesAtOnce,
    Select,
    Shape,
    Strict,
    ValuesOption,
    Workers,
    with_raw,
)
from encoder.stores.object_path import path_of
from saefetch.terminal.program import new_app

if TYPE_CHECKING:
    from encoder.options import Options

app = new_app("sae-encode")


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
    context: typer.Context,
    inputs: Inputs,
    out: OutDir,
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePaths = None,
    workers: Workers = None,
    strict: Strict = False,
    device: Device = None,
    batch_tokens: BatchTokens = None,
    saes_at_once: SaesAtOnce = None,
    values: ValuesOption = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    dtype: Dtype = None,
    shape: Shape = None,
    prefix: Prefix = None,
    part: PartOption = None,
    engine: EngineOption = None,
    ray_address: RayAddress = None,
    num_cpus: NumCpus = None,
    num_gpus: NumGpus = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    backend: Backend = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Encode shards: submit them, work until all are done, say how it went. Run it again to resume."""
    options = _options(context)
    sae = options.name_saes(sae_release, sae_id, sae_path)
    from encoder.cli.run import encode

    encode(inputs, out, sae, options, with_raw(select, dtype, shape), axes, prefix, part, as_json=json, quiet=quiet)


@app.command(short_help="Put shards on a queue.")
def submit(
    context: typer.Context,
    inputs: Inputs,
    queue: QueueDir,
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="DIR", help="Where the features go.  [default: QUEUE/out]"),
    ] = None,
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePaths = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    dtype: Dtype = None,
    shape: Shape = None,
    prefix: Prefix = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    strict: Annotated[bool, typer.Option("--strict", help="Files that are not read are an error.")] = False,
    config: Config = None,
) -> None:
    """Put shards on a queue; the files themselves are never moved or changed."""
    from encoder.cli.queue import submit as put

    options = _options(context)
    sae, select = options.name_saes(sae_release, sae_id, sae_path), with_raw(select, dtype, shape)
    put(inputs, queue, out, sae, select, axes, prefix, options)


@app.command(short_help="Work on a queue, one process.", epilog=WORK_EXAMPLES)
def work(
    context: typer.Context,
    queue: QueueDir,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on for ever, and take what is dropped into inbox/.")
    ] = False,
    device: Device = None,
    batch_tokens: BatchTokens = None,
    saes_at_once: SaesAtOnce = None,
    values: ValuesOption = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    dtype: Dtype = None,
    shape: Shape = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    backend: Backend = None,
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePaths = None,
    strict: Strict = False,
    json: Json = False,
    quiet: Quiet = False,
    report: Annotated[str | None, typer.Option("--report", hidden=True)] = None,
    config: Config = None,
) -> None:
    """Work on a queue, one process. Start as many as you like, here or on machines that share the folder."""
    options = _options(context, report)
    named = options.name_saes_given(sae_release, sae_id, sae_path)
    from encoder.cli.work import work as work_on

    select = with_raw(select, dtype, shape)
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
    folder: FeaturesDir,
    data_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Where saefetch puts labels: with the SAE's, densities are compared.")
    ] = Path("sae"),
    json: Json = False,
) -> None:
    """Show rows, L0, density, dead features and the SAE, per shard and in all; with labels, a hint on the layer."""
    from encoder.cli.stats import stats as show

    show(folder, data_dir, as_json=json)


@app.command(short_help="Make a folder of features readable by feature.", epilog=INDEX_EXAMPLES)
def index(
    folder: FeaturesDir,
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="DIR", help="Where features.csc goes.  [default: the folder itself]"),
    ] = None,
    memory_mb: Annotated[int, typer.Option(metavar="N", min=1, help="Memory for the work.")] = 256,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write features.csc: where each feature fires, how strongly, and where most strongly."""
    from encoder.cli.index import index as make

    make(folder, out, memory_mb, as_json=json, quiet=quiet)


@app.command(short_help="A script for Slurm, Kubernetes or SkyPilot.", epilog=TEMPLATE_EXAMPLES)
def template(
    kind: Annotated[str, typer.Argument(metavar="slurm|kubernetes|skypilot", help="For which scheduler.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="As for run; addresses too.")],
    out: Annotated[str, typer.Option(metavar="OUT", help="Where the features go.")],
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: Annotated[list[str] | None, typer.Option(metavar="DIR_OR_FILE", help="As for run.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Into how many parts.")] = 8,
    image: Annotated[str | None, typer.Option(metavar="NAME", help="A container that has sae-encode.")] = None,
    time: Annotated[str, typer.Option(metavar="[D-]HH:MM:SS", help="Limit of each part.")] = "24:00:00",
    gpus: Annotated[str, typer.Option(metavar="N", help="GPUs of each part; H100:1 for SkyPilot.")] = "1",
    env_file: Annotated[str | None, typer.Option(metavar="FILE", help="Where credentials are.")] = None,
    values: ValuesOption = None,
    fold_decoder_norm: FoldDecoderNorm = False,
    select: Select = None,
    axes: Axes = None,
    dtype: Dtype = None,
    shape: Shape = None,
    prefix: Prefix = None,
    exclude_tokens: ExcludeTokens = None,
    exclude_first: ExcludeFirst = None,
    exclude_norm: ExcludeNorm = None,
    strict: Strict = False,
) -> None:
    """Print a script or manifest that encodes one part of the shards on each of many machines."""
    from encoder.cli.template import template as show

    given = {
        "--sae-release": sae_release, "--sae-id": sae_id, "--values": values, "--select": select, "--axes": axes,
        "--dtype": dtype, "--shape": shape, "--prefix": prefix, "--exclude-tokens": exclude_tokens,
        "--exclude-first": exclude_first, "--exclude-norm": exclude_norm, "--fold-decoder-norm": fold_decoder_norm,
        "--strict": strict,
    }  # fmt: skip
    how = {"workers": workers, "time": time, "gpus": gpus, "image": image, "env_file": env_file}
    show(kind, inputs, out, given, sae_path, **how)


@app.command(short_help="What this machine computes with, and why.")
def info(
    context: typer.Context,
    sae_release: Release = None,
    sae_id: SaeId = None,
    sae_path: SaePaths = None,
    device: Device = None,
    backend: Backend = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show the libraries, the devices, which kernel is taken and in which precision its screen runs, and why.

    With an SAE also how much memory it takes, before any of it is taken.
    """
    options = _options(context)
    from encoder.cli.info import info as show

    named = options.name_saes_given(sae_release, sae_id, sae_path)
    show(options, named, as_json=json)


def _options(context: typer.Context, report: str | None = None) -> Options:
    """Read the settings. A flag that was given wins, by its name; `name_sae` hears of the flags that name the SAE."""
    from encoder.options import Options, load_options, read_options  # takes pydantic along, which no help needs

    if report is not None:  # another process has read them
        return read_options(report)
    flags = {name: context.params.get(name) for name in Options.model_fields if not name.startswith("sae_")}
    given = {name: value for name, value in flags.items() if value is not False}
    return load_options(context.params["config"], **given)
