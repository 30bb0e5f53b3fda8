"""`sae-encode run`: the face of `encoder.engines.run` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from encoder.cli.advice import Command
from encoder.cli.work import finish
from encoder.engines.run import run
from encoder.options import Options
from encoder.readers import parse_select
from encoder.work.named import SaesLike, names_of
from saefetch.terminal.output import same_command


def encode(
    inputs: list[Path],
    out: Path,
    sae: SaesLike,
    options: Options,
    select: str | None,
    axes: str | None,
    prefix: str | None,
    part: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Encode all inputs into `out` and exit. Raises: InputError, MismatchError before any work."""
    chosen = parse_select(select, axes)
    ended = run(inputs, out, sae, options, select=chosen, prefix=prefix, part=part, progress=not quiet)
    again = same_command("sae-encode", "encoder")
    asked = Command(inputs, names_of(sae), ended.settings, ended.has_results)
    finish(ended.outcome, ended.stopped_by, again=again, as_json=as_json, quiet=quiet, run=asked)
