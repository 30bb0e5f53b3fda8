"""The last line of a run that failed: a command that works, once what the errors ask for is done.

    With --select blocks.1.hook_resid_post: sae-encode run b.pt --out features-selected ... --select blocks.1...

Results of one folder are all made with one --select and one --axes. So where results are there, the command is for the
files that failed alone, and for another folder. Of several SAEs it is for the one that the error is of: what is chosen
by hand for one SAE is not what the others take.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.file.beside import RUN
from encoder.readers import parse_select
from encoder.stores.opened import open_store
from encoder.work.named import NAMES

CHOICE = re.compile(r"(?<!leave )--(?:select|axes) (?!of\b)[^\s:;,()]+(?:,[^\s:;,()]+)*(?: --select [^\s:;,()]+)?")
"""What an error says to add to the command."""
OTHER_CHOICE = "; or --"
"""What an error says where there are several ways, of which the first is the likeliest."""
SELECTED = "-selected"
"""What is added to the name of a folder of results that were made without the flag that is named."""
FLAG = re.compile(r"--\w+ \S+")
_NAMING = ("--sae-release", "--sae-id", "--sae-path")


@dataclass(frozen=True, slots=True)
class Command:
    """What a `run` was asked for: its INPUTs, its SAE or {"saes": [...]}, and the settings of its `_run.json`.

    `has_results` says that results are there, which are made with these settings.
    """

    inputs: Collection[Path] = ()
    sae: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    has_results: bool = False

    @property
    def saes(self) -> Sequence[Mapping[str, Any]]:
        """Several SAEs, each with its folder; () for one."""
        several: Sequence[Mapping[str, Any]] = self.sae.get("saes", ())
        return several


def advice(errors: Collection[str], again: str, run: Command | None) -> str:
    """Return the line. `again` is the command that was given; without `run` it is one that tries jobs of a queue."""
    asking = [error for error in errors if CHOICE.search(error)]
    flags = {found[0].rstrip(".") for error in asking if (found := CHOICE.search(error))}
    if len(flags) != 1:
        return f"Once mended: {again}"
    (flag,) = flags
    new = " ".join(one for one in FLAG.findall(flag) if f" {one}" not in again) or flag
    elsewhere = again
    if run is not None and (run.has_results or run.saes):
        elsewhere = _elsewhere(again, asking, new, run)
    if any(OTHER_CHOICE in error for error in errors):
        return f"With the way that is meant, such as {flag}: {elsewhere} {new}"
    if run is None:
        return f"With {flag}: submit them again with it, to the same queue"
    return f"With {flag}: {elsewhere} {new}"


def _elsewhere(again: str, errors: Sequence[str], new: str, run: Command) -> str:
    """Return the command `again` for the files that failed alone, with results beside those that are there.

    Of files of one name, whose results would be one too, it is for the first, and of several SAEs for the first too. A
    part of few files may be none of them.
    """
    words, sae = shlex.split(again), run.sae
    if run.saes:
        by_folder = {one["folder"]: one for one in run.saes}
        folder = errors[0].partition(": ")[0].partition(", ")[0]
        if folder not in by_folder:
            return again
        sae = by_folder[folder]
        errors = [error.partition(": ")[2] for error in errors if error.startswith(folder)]
    paths = {Path(path).stem: path for path in sorted({error.partition(": ")[0] for error in errors}, reverse=True)}
    if "run" not in words or not all(Path(path).exists() for path in paths.values()):
        return again
    at = words.index("run") + 1
    kept: list[str] = []
    rest = iter(words[at:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name in ("--out", "--part", *(_NAMING if run.saes else ())):
            value = value if equals else next(rest, "")
            kept += ["--out", _free(value.rstrip("/") + SELECTED, sae, new, run)] if name == "--out" else []
        elif Path(word) not in run.inputs:
            kept.append(word)
    if run.saes:
        names = ((flag, sae.get(name)) for flag, name in zip(_NAMING, NAMES, strict=True))
        kept += [word for flag, value in names if value for word in (flag, str(value))]
    return shlex.join([*words[:at], *sorted(paths.values()), *kept])


def _free(folder: str, sae: Mapping[str, Any], new: str, run: Command) -> str:
    """Return the folder, or one with a number behind its name, that has no results of another SAE or other settings."""
    select = {**run.settings.get("select", {})}
    for flag, value in (one.split(" ", 1) for one in FLAG.findall(new)):
        select |= parse_select(value) if flag == "--select" else parse_select(None, value)
    wanted = {**run.settings, "select": select}
    for n in count(1):
        place = folder if n == 1 else f"{folder}{n}"
        with suppress(EncoderError, OSError):
            if not _takes(place, sae, wanted):
                continue
        return place
    raise AssertionError


def _takes(place: str, sae: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Say whether a folder is empty, or for results of this SAE with these settings."""
    store = open_store(place)
    try:
        there = json.loads(store.read(RUN))
    except FileNotFoundError:
        return not any(entry.key.endswith(".npz") for entry in store.list())
    except (ValueError, RecursionError):
        return False
    if not isinstance(there, dict) or not isinstance(there.get("sae"), dict):
        return False
    same = all(there["sae"].get(name) == sae.get(name) for name in NAMES)
    return same and all(there.get(name) == value for name, value in wanted.items())
