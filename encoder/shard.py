"""What a reader makes of a file: rows of activations, a batch at a time, and what is known of each row.

Shapes: T rows (tokens) of one shard, D = d_in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.arrays import I64, U8, Bool

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the shard says of its rows; each array has T entries, or is None where the shard does not say.

    `token_ids` int64; `texts` the tokens as strings; `row_document` int64, counts documents (or contexts) from 0;
    `row_position` int64, the row's place in its document; `row_mask` bool, False where the row does not count: as the
    producer says, and in a features file as the user says too. `row_reason` uint8 says why not, see `encoder.rows`; it
    is only in a features file, and only where the user excluded some.
    `sections` names the parts of a capture ("prompt", "response") with the rows [start, stop) of each.
    """

    token_ids: I64 | None = None
    texts: list[str] | None = None
    row_document: I64 | None = None
    row_position: I64 | None = None
    row_mask: Bool | None = None
    row_reason: U8 | None = None
    sections: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    """One data file, ready to be read. Memory is bounded by the rows asked for, whatever the file's size.

    `read(start, stop)` returns [stop - start, D] in the dtype on disk: bfloat16, float16 or float32 (float64 is rounded
    to float32, which `notes` then says). `dtype` is the dtype on disk, such as "bfloat16". `tokens` is called at most
    once. `hook_name` is what the file says it was captured from, "" if it does not. `places` are all hooks of which the
    file says that it holds activations, this one's among them. `is_interleaved`: between these rows lie rows of other
    places of the model, so a reading of several places goes through them side by side.
    """

    path: Path
    n_rows: int
    d_in: int
    dtype: str
    read: Callable[[int, int], torch.Tensor]
    tokens: Callable[[], Tokens] = Tokens
    hook_name: str = ""
    notes: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    is_interleaved: bool = False
