"""Which rows of a file are for which SAE: each SAE's hook is looked for in what the file has.

    one SAE named        the rows for it, or the error that says why there are none; what was chosen by hand is taken
    several SAEs named   the rows for each; an SAE whose place is not in the file is *absent* there, which is no error

Rows come from one place in the model. So where a file does not say from which, and SAEs of several places are named,
none of them is taken: the rows would be right for one SAE, and nobody can say for which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from encoder.errors import NotHereError, ShardError
from encoder.hooks import compare, parse
from encoder.readers import DataFile
from encoder.sae.known import Known
from encoder.sae.right_hook import check_hook, check_width
from encoder.shard import Shard

MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Sought:
    """What an SAE takes: rows of `d_in` numbers from a hook of a model; hook and model are "" where it does not say."""

    d_in: int
    hook_name: str = ""
    model_name: str = ""

    @classmethod
    def of(cls, known: Known) -> Self:
        return cls(known.d_in, known.hook_name, known.model_name)


@dataclass(slots=True)
class Matched:
    """The rows for each SAE, by the SAE's name, with notes on how they were chosen; or why there are none.

    `without_sae` are the places of the file that no SAE is for.
    """

    shards: dict[str, Shard] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    errors: dict[str, ShardError] = field(default_factory=dict)
    without_sae: list[str] = field(default_factory=list)

    def distinct(self) -> list[Shard]:
        """Return each shard once, in the order of the SAEs."""
        return list({id(shard): shard for shard in self.shards.values()}.values())


def match(
    path: Path,
    sought: Mapping[str, Sought],
    names: Iterable[str],
    select: Mapping[str, str],
    root: Path | None,
    *,
    several: bool,
) -> Matched:
    """Open the rows of a file for each of the SAEs `names`; rows that two SAEs share are one `Shard`.

    `sought` also has SAEs whose rows are not asked for any more, but which the file's places are for.
    Raises: ShardError where the file itself cannot be read.
    """
    found, opened = Matched(), list[Shard]()
    file = DataFile(path, select, root)
    places: dict[str, None] = {}
    for name in names:
        one = sought[name]
        try:
            shard = file.shard_for(one.d_in, one.hook_name, one.model_name)
            check_width(shard, one.d_in)
            places |= dict.fromkeys(shard.places or filter(None, [shard.hook_name]))
            if several and compare(shard.hook_name, one.hook_name, one.model_name) == "other":
                raise NotHereError(f"{path}: has {shard.hook_name}, and not {one.hook_name}", (shard.hook_name,))
            found.notes[name] = check_hook(shard, one.hook_name, one.model_name, {} if several else select)
        except NotHereError as exc:
            places |= dict.fromkeys(exc.places)
            if several:
                found.absent[name] = str(exc)
            else:
                found.errors[name] = exc
        except ShardError as exc:
            found.errors[name] = exc
        else:
            same = next((other for other in opened if _are_same_rows(shard, other)), None)
            found.shards[name] = same or shard
            if same is None:
                opened.append(shard)
    if several:
        for shard in opened:
            _refuse_rows_of_no_place(path, shard, sought, found)
        found.without_sae = [place for place in places if not _is_sought(place, sought.values())]
    return found


def _are_same_rows(one: Shard, other: Shard) -> bool:
    """Say whether two shards of one file hold the same rows: within a file, a name is of one array."""
    of_one, of_other = ((shard.hook_name, shard.n_rows, shard.d_in, shard.dtype, shard.notes) for shard in (one, other))
    return of_one == of_other


def _refuse_rows_of_no_place(path: Path, shard: Shard, sought: Mapping[str, Sought], found: Matched) -> None:
    """Make it an error of these rows' SAEs if SAEs of different places of the model would all be given the rows."""
    names = [name for name, one in found.shards.items() if one is shard]
    like = [one for one in sought.values() if one.d_in == shard.d_in]
    like = [one for one in like if compare(shard.hook_name, one.hook_name, one.model_name) != "other"]
    hooks = {one.hook_name: one.model_name for one in like}
    pairs = [(a, b) for a in hooks for b in hooks if compare(a, b, hooks[a]) == "other"]
    if not pairs:
        return
    shown = ", ".join(sorted(hooks)[:MAX_NAMED]) + (", ..." if len(hooks) > MAX_NAMED else "")
    says = f"says only {shard.hook_name!r} of" if parse(shard.hook_name).is_known else "does not say"
    error = ShardError(
        f"{path}: {says} where in the model its rows are from, and the SAEs are for {shown}; name the one SAE that it"
        " is for, or save each layer under its hook's name"
    )
    for name in names:
        del found.shards[name]
        found.errors[name] = error


def _is_sought(place: str, sought: Any) -> bool:
    return any(compare(place, one.hook_name, one.model_name) != "other" or place == one.hook_name for one in sought)
