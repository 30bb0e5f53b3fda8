"""The flags that several commands of `sae-encode` take, each with its help. Built-in values: `encoder.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encoder.stores.address import local_path
from encoder.stores.object_path import path_of

FLOAT16 = "float16: half the size, but scipy cannot compute with it; open_features gives float32.  [default: float32]"

Inputs = Annotated[
    list[Path],
    typer.Argument(parser=path_of, metavar="INPUT...", help="Activation files, or folders of them: paths, addresses."),
]
FeaturesDir = Annotated[
    Path, typer.Argument(parser=path_of, metavar="DIR", help="A folder of features: a path, or an address.")
]
QueueDir = Annotated[Path, typer.Option("--queue", parser=local_path, metavar="DIR", help="The queue's folder.")]
OutDir = Annotated[
    Path,
    typer.Option("--out", parser=path_of, metavar="DIR", help="Where the features go, one .npz a shard."),
]
Release = Annotated[str | None, typer.Option("--sae-release", metavar="R", help="SAELens release.")]
SaeId = Annotated[
    str | None, typer.Option("--sae-id", metavar="ID", help="SAELens id within the release; 'layer_*/...' for several.")
]
SaePaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--sae-path",
        parser=path_of,
        metavar="DIR_OR_FILE",
        help="An SAE on disk, of any trainer; known by its content; again for another.",
    ),
]
SaesAtOnce = Annotated[
    int | None, typer.Option(metavar="N", help="Of several SAEs, so many are loaded at a time.  [default: by memory]")
]
Device = Annotated[
    str | None, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where to compute.  [default: auto]")
]
BatchTokens = Annotated[int | None, typer.Option(metavar="N", help="Rows at a time.  [default: 4096]")]
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
Dtype = Annotated[
    str | None, typer.Option("--dtype", metavar="NAME", help="What files without a header hold, such as float16.")
]
Shape = Annotated[
    str | None,
    typer.Option("--shape", metavar="N,...", help="And their shape, such as -1,2304.  [default: rows of d_in]"),
]
Prefix = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Results are named NAME__..., as if INPUT were in a folder NAME."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Worker processes.  [default: 1; with Ray as many as have room]")
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", metavar="local|ray", help="Who shares out the shards.  [default: local]")
]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="The Ray cluster.  [default: $RAY_ADDRESS, or this machine]"),
]
NumCpus = Annotated[float | None, typer.Option(metavar="C", help="CPUs of a worker of Ray.  [default: 1]")]
NumGpus = Annotated[
    float | None, typer.Option(metavar="G", help="GPUs, also 0.5 of one.  [default: 1 if the cluster has any]")
]
PartOption = Annotated[
    str | None,
    typer.Option("--part", metavar="I/N", help="Every N-th shard, from the I-th on: for arrays of tasks."),
]
Backend = Annotated[
    str | None, typer.Option(metavar="auto|reference|cpu|triton", help="Which kernel.  [default: auto]")
]
FoldDecoderNorm = Annotated[
    bool, typer.Option("--fold-decoder-norm", help="Values in Neuronpedia's scale: times the decoder rows' norms.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Activations that do not look like the SAE's, and files that are not read, are an error."
    ),
]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file with defaults.")]


def with_raw(select: str | None, dtype: str | None, shape: str | None) -> str | None:
    """Return a --select that also says what files without a header hold."""
    parts = [select, f"raw_dtype={dtype}" if dtype else None]
    parts.append(f"raw_shape={shape.replace(',', 'x')}" if shape else None)
    return ",".join(filter(None, parts)) or None
