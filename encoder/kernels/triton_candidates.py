"""From the screen's mask to lists in Triton: rows of bits -> (row, column) pairs, by rows and ascending.

One program a row: it counts the row's bits, the counts' prefix sums say where each row's pairs start, and a second
program writes them there. Reads the mask twice (2 kB a row each time at F = 16,384) and writes 8 bytes a candidate.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

WORDS = 64
"""Words of the mask that `_expand` unpacks at a time: 2,048 pairs."""


@triton.jit
def _n_bits(word: Any) -> Any:
    """Count the ones of each int32; shifts are arithmetic, so each is masked."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    word = word + (word >> 8)
    return (word + (word >> 16)) & 0x3F


@triton.jit
def _count(mask_ptr: Any, counts_ptr: Any, N_WORDS: tl.constexpr, BLOCK: tl.constexpr) -> None:
    t = tl.program_id(0).to(tl.int64)
    word = tl.arange(0, BLOCK)
    bits = tl.load(mask_ptr + t * N_WORDS + word, mask=word < N_WORDS, other=0)
    tl.store(counts_ptr + t, tl.sum(_n_bits(bits), 0))


@triton.jit
def _expand(
    mask_ptr: Any, indptr_ptr: Any, rows_ptr: Any, columns_ptr: Any, N_WORDS: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    t = tl.program_id(0)
    place = tl.load(indptr_ptr + t)
    bit = tl.arange(0, 32)[None, :]
    for start in range(0, N_WORDS, BLOCK):
        word = start + tl.arange(0, BLOCK)
        bits = tl.load(mask_ptr + t.to(tl.int64) * N_WORDS + word, mask=word < N_WORDS, other=0)
        n = _n_bits(bits)
        n_before = (tl.cumsum(n, 0) - n)[:, None] + _n_bits(bits[:, None] & ((1 << bit) - 1))
        is_set = ((bits[:, None] >> bit) & 1) == 1
        column = word[:, None] * 32 + bit
        tl.store(columns_ptr + place + n_before, column, mask=is_set)
        tl.store(rows_ptr + place + n_before, tl.zeros_like(column) + t, mask=is_set)
        place += tl.sum(n, 0)


def bounds(mask: torch.Tensor) -> torch.Tensor:
    """Return where each row's candidates start: mask [T, W] int32 -> indptr [T + 1] int64, on the device."""
    T, n_words = mask.shape
    counts = torch.empty(T, dtype=torch.int32, device=mask.device)
    if T:
        _count[(T,)](mask, counts, n_words, triton.next_power_of_2(n_words), num_warps=4)
    indptr = torch.zeros(T + 1, dtype=torch.int64, device=mask.device)
    torch.cumsum(counts, 0, dtype=torch.int64, out=indptr[1:])
    return indptr


def expand(mask: torch.Tensor, indptr: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Write down the candidates: rows [n] and columns [n], int32; n is indptr's last."""
    T, n_words = mask.shape
    rows, columns = (torch.empty(n, dtype=torch.int32, device=mask.device) for _ in range(2))
    if n:
        _expand[(T,)](mask, indptr, rows, columns, n_words, min(WORDS, triton.next_power_of_2(n_words)), num_warps=4)
    return rows, columns
