"""What lies beside the activations in a file: token ids, and the mask that says which rows are real.

    token_ids, tokens, input_ids      integers, one for each row: others are refused
    attention_mask, attn_mask, mask   1 for a row that counts, 0 for padding; or added to scores: 0, and very negative

Names may also be in the plural, in capitals, or with - for _.
A mask obeys where it is found: called after the activations (`acts.attention_mask`), beside them, or in a mapping
beside or above them, such as `inputs.attention_mask`. Attention also calls its [s, s] a mask; such a mask is passed
over, with a note. A mask whose name says padding (`padding_mask`) means 1 for padding in some programs and 0 in others:
it is passed over, with a note. So is whatever else has one entry for each row and a name like that of a mask, such as
`loss_mask` or `is_valid`, or holds nothing but true and false.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encoder.arrays import F64, I64, Bool
from encoder.errors import ShardError
from encoder.readers.arrays import Array
from encoder.readers.companion_names import ANY_MASK, MASK_NAMES, TOKEN_NAMES, UNCLEAR_MASK_NAMES
from encoder.readers.source import printable

LIKE_A_MASK = ("mask", "pad", "valid")
SCALES = ("scale", "scales", "scale_factor", "scaling_factor", "norm_factor", "zero_point", "zero_points")
LIKE_LENGTHS = ("len", "num_tokens", "n_tokens")
_VERY_NEGATIVE = -1000.0


def is_companion(name: str) -> bool:
    """Say whether the name is that of token ids or of a mask."""
    return _own_name(name) in (*TOKEN_NAMES, *MASK_NAMES, *UNCLEAR_MASK_NAMES)


def _own_name(name: str) -> str:
    return name.rpartition(".")[2].casefold().replace("-", "_")


@dataclass(frozen=True, slots=True)
class Companion:
    """Token ids or a mask, under its name; `is_beside` if it lies in the mapping of the activations or in one above."""

    name: str
    array: Array
    is_beside: bool

    def has_ids_for(self, lead: Sequence[int]) -> bool:
        return not self.array.is_float and fits(lead, self.array)


def find(named: Mapping[str, Array], names: Sequence[str], chosen: str) -> list[Companion]:
    """List the arrays that one of `names` calls, the nearest to the array `chosen` first."""
    parts = chosen.split(".")
    parents = parts[:-1]
    found = []
    for key, array in named.items():
        own, last = key.split(".")[:-1], _own_name(key)
        if own == parts and last in names:
            found.append((-1, names.index(last), Companion(key, array, True)))
        elif key != chosen and last in names:
            shared = next((i for i, (a, b) in enumerate(zip(own, parents, strict=False)) if a != b), None)
            shared = min(len(own), len(parents)) if shared is None else shared
            far = len(own) + len(parents) - 2 * shared
            found.append((far, names.index(last), Companion(key, array, shared == len(own))))
    found.sort(key=lambda item: item[:2])
    return [companion for *_, companion in found]


def ids_of(named: Mapping[str, Array], chosen: str, lead: Sequence[int]) -> Array | None:
    """Return the token ids beside `chosen`, or else the nearest of the file that fit its rows."""
    found = find(named, TOKEN_NAMES, chosen)
    return next((one.array for one in found if one.is_beside or one.has_ids_for(lead)), None)


def why_unclear(name: str) -> str:
    """Say why what may be a mask is not obeyed."""
    return (
        f"{printable(name)} is not used, as programs disagree on what 1 means in it: save it as attention_mask, 1 for"
        f" rows that count"
    )


def is_mask(name: str) -> bool:
    """Say whether a mask of this name is obeyed."""
    return _own_name(name) in MASK_NAMES


def may_be_mask(name: str, dtype: str) -> bool:
    """Say whether an array with one entry for each row may be a mask, though its name does not say what 1 means."""
    if is_companion(name) and _own_name(name) not in UNCLEAR_MASK_NAMES:
        return False
    return dtype == "bool" or any(part in _own_name(name) for part in LIKE_A_MASK)


def mask_beside(named: Mapping[str, Array], chosen: str, lead: Sequence[int]) -> tuple[Array | None, tuple[str, ...]]:
    """Return the mask that goes with `chosen`, and a note for each mask that is passed over."""
    notes = [
        why_unclear(key)
        for key, array in named.items()
        if _own_name(key) in UNCLEAR_MASK_NAMES
        or (key != chosen and may_be_mask(key, array.dtype) and fits(lead, array))
    ]
    notes += [
        f"{printable(key)} is not used, as the side of a text's padding is not known: save an attention_mask"
        for key, array in named.items()
        if not array.is_float and len(lead) > 1 and _squeezed(array.shape) == [lead[0]] and _tells_lengths(key)
    ]
    notes += [
        f"{printable(key)} is not used: if the activations are to be multiplied by it, do so before they are saved"
        for key in named
        if key != chosen and _own_name(key) in SCALES
    ]
    found = find(named, MASK_NAMES, chosen)
    for i, one in enumerate(found):
        what = _own_name(one.name)
        must_fit = one.is_beside and what not in ANY_MASK and not _is_of_attention(one.array)
        if fits(lead, one.array) or must_fit:
            others = [other for other in found[i + 1 :] if fits(lead, other.array) and other.is_beside]
            notes += [f"{printable(other.name)} is not used, as {printable(one.name)} is" for other in others]
            return one.array, tuple(notes)
        notes.append(
            f"the {what} is {one.array.describe()}, not one entry for each row, and is not used: if it is attention's"
            f" own, save the tokenizer's attention_mask, 1 for rows that count"
        )
    return None, tuple(notes)


def _tells_lengths(name: str) -> bool:
    return any(part in _own_name(name) for part in LIKE_LENGTHS)


def _is_of_attention(mask: Array) -> bool:
    """Say whether a mask that does not fit the rows is attention's own, [..., s, s]."""
    shape = _squeezed(mask.shape)
    return len(shape) > 2 or (len(shape) == 2 and shape[0] == shape[1])


def match(path: object, rows: Array, companion: Array | None, what: str, *, may_be_float: bool = False) -> None:
    """Refuse token ids or a mask that has not one entry for each row."""
    if companion is None:
        return
    are = "are" if what.startswith("token ids") else "is"
    if companion.is_float and not may_be_float:
        raise ShardError(f"{path}: the {what} {are} {companion.describe()}, expected integers")
    if not fits(rows.lead, companion):
        raise ShardError(
            f"{path}: the {what} {are} {companion.describe()} but the activations are {rows.describe()}:"
            f" {math.prod(companion.shape)} for {rows.n_rows} rows; written from different runs?"
        )


def fits(lead: Sequence[int], companion: Array) -> bool:
    """Say whether these are one entry for each row; dimensions of 1 do not count, and either may be flat."""
    shapes = _squeezed(companion.shape), _squeezed(lead)
    is_flat = math.prod(companion.shape) == math.prod(lead) and min(map(len, shapes)) < 2
    return is_flat or shapes[0] == shapes[1]


def mask_of(path: object, mask: Array) -> Bool:
    """Read a mask as True for the rows that count; see `counting`."""
    return counting(path, mask.floats() if mask.is_float else mask.integers())


def counting(path: object, values: F64 | I64) -> Bool:
    """Read the numbers of a mask as True for the rows that count.

    Floats that are all zero are a mask to be added where nothing is padding. Integers may also number the texts of a
    row from 1. Raises: ShardError if the numbers are neither 0 and 1 nor scores.
    """
    is_zero: Bool = np.equal(values, 0)
    others = values[~is_zero]
    is_float = values.dtype.kind == "f"
    if np.less_equal(others, _VERY_NEGATIVE).all() and (is_float or len(others)):
        return is_zero
    odd = others[np.not_equal(others, 1) if is_float else np.less(others, 0)]
    if len(odd):
        raise ShardError(f"{path}: the mask holds {odd[0]:g}, expected 1 for rows that count and 0 for padding")
    return ~is_zero


def _squeezed(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]
