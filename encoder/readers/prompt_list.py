"""A list of prompts, as a loop over prompts leaves it: torch.save([rows of prompt 0, rows of prompt 1, ...]).

    [ [n_0, d], [n_1, d], ... ]                                    a document each; [b, n, d] is b documents
    { "prompt_0": [n_0, d], "prompt_1": [n_1, d], ... }            the same under numbered names
    [ {"hidden_states": [n_0, d], "input_ids": [n_0]}, ... ]       with token ids and a mask beside each
    { "prompt_0": {"hidden_states": ..., "input_ids": ...}, ... }  the same under numbered names

Tensors of differing length are documents, as layers of one text have one length. Tensors of one shape may be the layers
of a text as well as texts of one length, so they are refused with the ways to name: `--axes document,token,d` takes all
as documents, `--select N` takes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoder.arrays import I64
from encoder.errors import AmbiguousError, ShardError
from encoder.hooks import parse
from encoder.readers.arrays import ON_DISK, Array
from encoder.readers.assemble import finished, joined, structure
from encoder.readers.axes import plain_rows
from encoder.readers.choose import choose, place_of
from encoder.readers.companions import ids_of, is_companion, mask_beside, mask_of, match
from encoder.readers.place import hook_of_place
from encoder.readers.source import Source, arrays_in, printable
from encoder.shard import Shard, Tokens

NAME = "lists of prompts"
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The rows of one entry of the list, with what lies beside them."""

    rows: Array
    ids: Array | None = None
    mask: Array | None = None


def claims(source: Source) -> bool:
    entries = source.contents
    if "key" in source.select or source.axes[:1] == ("layer",):
        return False
    if isinstance(entries, dict):
        return _are_numbered_prompts(entries)
    if not isinstance(entries, list) or len(entries) < 2:
        return False
    return all(isinstance(one, Array) for one in entries) or all(_holds_arrays(one) for one in entries)


def open_shard(source: Source) -> Shard:
    source.allow_select("axes")
    entries = list(source.contents.values() if isinstance(source.contents, dict) else source.contents)
    hook_name = hook_of_place(source.path, source.root)
    notes: tuple[str, ...] = ()
    if isinstance(entries[0], Array):
        prompts = [_Prompt(_rows(one, f"entry {i}", source)) for i, one in enumerate(entries)]
        _check_are_documents(prompts, source)
    else:
        hook_name, prompts, notes = _with_companions(entries, source)
    first = prompts[0].rows
    for i, prompt in enumerate(prompts):
        if (prompt.rows.dtype, prompt.rows.width) != (first.dtype, first.width):
            raise ShardError(
                f"{source.path}: entry {i} is {prompt.rows.describe()} and entry 0 {first.describe()};"
                f" expected one dtype and one width"
            )
        match(source.path, prompt.rows, prompt.ids, f"token ids of entry {i}")
        match(source.path, prompt.rows, prompt.mask, f"mask of entry {i}", may_be_float=True)
    n_rows = sum(prompt.rows.n_rows for prompt in prompts)
    lies_plain = all(type(prompt.rows) is Array for prompt in prompts)
    if lies_plain and n_rows * first.width * ON_DISK[first.dtype].itemsize > source.size:
        raise ShardError(f"{source.path}: its {len(prompts):,} entries repeat the same rows; save each tensor once")
    read = joined([prompt.rows for prompt in prompts])
    return finished(source, n_rows, first.width, first.dtype, read, _tokens_of(source, prompts), hook_name, notes)


def _holds_arrays(entry: object) -> bool:
    return isinstance(entry, dict) and any(isinstance(value, Array) for value in entry.values())


def _are_numbered_prompts(entries: Mapping[Any, Any]) -> bool:
    """Say whether these are `prompt_0`, `prompt_1` and so on: tensors of differing length, or tensors with token ids or
    a mask beside each. Without either they may as well be layers.
    """
    matches = [_NUMBERED.fullmatch(str(key)) for key in entries]
    prefixes = {found[1] for found in matches if found}
    values = list(entries.values())
    if len(values) < 2 or len(prefixes) != 1 or None in matches:
        return False
    prefix = prefixes.pop()
    if prefix and parse(f"{prefix}0").is_known:
        return False
    if all(_holds_arrays(value) for value in values):
        return all(any(is_companion(str(name)) for name in value) for value in values)
    arrays = [value for value in values if isinstance(value, Array) and len(value.shape) in (2, 3)]
    return len(arrays) == len(values) and len({array.lead for array in arrays}) > 1


def _rows(array: Array, what: str, source: Source) -> Array:
    rows = plain_rows(array, what, source)
    if len(rows.lead) > 2:
        raise ShardError(f"{source.path}: {what} is {array.describe()}, expected [token, d] or [document, token, d]")
    return rows


def _check_are_documents(prompts: list[_Prompt], source: Source) -> None:
    """Refuse tensors of one shape, which may be layers, unless --axes says that they are documents."""
    rows = prompts[0].rows
    ways = {1: ("document", "token", "d"), 2: ("document", "document", "token", "d")}
    way = ways[len(rows.lead)] if rows.row_dims == 1 else (*ways[len(rows.lead)][:-1], "head", "d")
    if source.axes:
        if source.axes != way:
            raise ShardError(
                f"{source.path}: a list of {len(prompts):,} tensors such as {prompts[0].rows.describe()} takes --axes"
                f" {','.join(way)}, or --select N for one of them"
            )
        return
    if len({prompt.rows.lead[-1] for prompt in prompts}) == 1 and len({prompt.rows.shape for prompt in prompts}) == 1:
        raise AmbiguousError(
            f"{source.path}: say what its {len(prompts):,} tensors {prompts[0].rows.describe()} are: --axes"
            f" {','.join(way)} (documents); or --select N (layers, of which one is taken)"
        )


def _with_companions(entries: list[dict[Any, Any]], source: Source) -> tuple[str, list[_Prompt], tuple[str, ...]]:
    """Choose the same array of each entry, and find its token ids and mask."""
    prompts, notes = [], dict[str, None]()
    named = [arrays_in(source.path, one) for one in entries]
    name, _, _ = choose(named[0], source)
    for i, arrays in enumerate(named):
        if name not in arrays:
            raise ShardError(f"{source.path}: entry {i} has no {printable(name)}, which entry 0 has")
        rows = _rows(arrays[name], f"{printable(name)} of entry {i}", source)
        mask, passed_over = mask_beside(arrays, name, rows.lead)
        notes |= dict.fromkeys(passed_over)
        prompts.append(_Prompt(rows, ids_of(arrays, name, rows.lead), mask))
    return place_of(name, named[0]), prompts, tuple(notes)


def _tokens_of(source: Source, prompts: list[_Prompt]) -> Callable[[], Tokens]:
    def tokens() -> Tokens:
        documents: list[I64] = []
        positions: list[I64] = []
        n_documents = 0
        for prompt in prompts:
            rows = prompt.rows
            lead = rows.lead if len(rows.lead) > 1 else (1, *rows.lead)
            document, position = structure(lead)
            if document is None or position is None:
                raise ShardError(f"{source.path}: an entry has no rows [token, d]")
            documents.append(document + n_documents)
            positions.append(position)
            n_documents += lead[0]
        ids = [prompt.ids for prompt in prompts]
        masks = [
            np.ones(prompt.rows.n_rows, np.bool_) if prompt.mask is None else mask_of(source.path, prompt.mask)
            for prompt in prompts
        ]
        return Tokens(
            token_ids=None if None in ids else np.concatenate([one.integers() for one in ids if one is not None]),
            row_document=np.concatenate(documents),
            row_position=np.concatenate(positions),
            row_mask=None if all(prompt.mask is None for prompt in prompts) else np.concatenate(masks),
        )

    return tokens
