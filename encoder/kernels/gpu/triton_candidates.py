"""From the screen's mask to lists in Triton: rows of bits -> (row, column) pairs, by rows and ascending.

A program counts a row's bits, the counts' prefix sums say where each row's pairs start, and a second program writes
them there. Reads the mask twice (2 kB a row each time at F = 16,384) and writes 8 bytes a candidate.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

WORDS = 64
"""Words of a row that `_expand` unpacks at a time: 2,048 pairs."""


@triton.jit
def _n_bits(word: tl.tensor) -> tl.tensor:
    """Count the ones of each int32; shifts are arithmetic, so each is masked."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    word = word + (word >> 8)
    return (word + (word >> 16)) & 0x3F


@triton.jit
def _count(
    mask_ptr: tl.tensor,
    counts_ptr: tl.tensor,
    T: tl.tensor,
    N_WORDS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    t = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    n = tl.zeros((ROWS,), tl.int32)
    for start in range(0, N_WORDS, BLOCK):
        word = start + tl.arange(0, BLOCK)
        inside = (t < T)[:, None] & (word < N_WORDS)[None, :]
        n += tl.sum(_n_bits(tl.load(mask_ptr + t[:, None] * N_WORDS + word[None, :], mask=inside, other=0)), 1)
    tl.store(counts_ptr + t, n, mask=t < T)


@triton.jit
def _expand(
    mask_ptr: tl.tensor,
    indptr_ptr: tl.tensor,
    rows_ptr: tl.tensor,
    columns_ptr: tl.tensor,
    T: tl.tensor,
    N_WORDS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    t = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    place = tl.load(indptr_ptr + t, mask=t < T, other=0)
    bit = tl.arange(0, 32)[None, None, :]
    for start in range(0, N_WORDS, BLOCK):
        word = start + tl.arange(0, BLOCK)
        inside = (t < T)[:, None] & (word < N_WORDS)[None, :]
        bits = tl.load(mask_ptr + t[:, None] * N_WORDS + word[None, :], mask=inside, other=0)
        n = _n_bits(bits)
        before = place[:, None] + tl.cumsum(n, 1) - n
        bits = bits[:, :, None]
        at = before[:, :, None] + _n_bits(bits & ((1 << bit) - 1))
        is_set = ((bits >> bit) & 1) == 1
        column = tl.zeros_like(bits) + word[None, :, None] * 32 + bit
        row = tl.zeros_like(column) + t[:, None, None].to(tl.int32)
        tl.store(columns_ptr + at, column, mask=is_set)
        tl.store(rows_ptr + at, row, mask=is_set)
        place += tl.sum(n, 1)


def bounds(mask: torch.Tensor, rows_per_program: int = 1) -> torch.Tensor:
    """Return where each row's candidates start: mask [T, W] int32 -> indptr [T + 1] int64, on the device."""
    T, n_words = mask.shape
    counts = torch.empty(T, dtype=torch.int32, device=mask.device)
    if T:
        block = min(16 * WORDS, triton.next_power_of_2(n_words))
        _count[(-(-T // rows_per_program),)](mask, counts, T, n_words, rows_per_program, block, num_warps=4)
    indptr = torch.zeros(T + 1, dtype=torch.int64, device=mask.device)
    torch.cumsum(counts, 0, dtype=torch.int64, out=indptr[1:])
    return indptr


def expand(
    mask: torch.Tensor, indptr: torch.Tensor, n: int, rows_per_program: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write down the candidates: rows [n] and columns [n], int32; n is indptr's last."""
    T, n_words = mask.shape
    rows, columns = (torch.empty(n, dtype=torch.int32, device=mask.device) for _ in range(2))
    if n:
        block = min(WORDS, triton.next_power_of_2(n_words))
        _expand[(-(-T // rows_per_program),)](
            mask, indptr, rows, columns, T, n_words, rows_per_program, block, num_warps=4
        )
    return rows, columns
