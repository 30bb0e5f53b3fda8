"""A search for an active feature that a screen misses: rows and thresholds made to be as hard as can be.

Each round makes weights and rows of another kind, climbs towards the rounding errors that the bound must cover, and
puts thresholds one float32 beside what a row reaches, on either side. Shapes: T rows, D = d_in, F = d_sae.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from kernel_cases import make_sae

from encoder.file.csr import Csr
from encoder.kernels.bound import U_OUT
from encoder.kernels.cpu.kernel import PRODUCT_DTYPES, CpuKernel
from encoder.kernels.cpu.operand import N_TERMS, make_columns, make_rows
from encoder.kernels.exact import exact_h, unit
from encoder.kernels.massive import find_massive
from encoder.sae.sae import LoadedSae

T = 1024
WIDTHS = (200, 17, 64, 3, 200, 64, 2, 64)
CLIMBS = 12


@dataclass(slots=True)
class Found:
    """What a search saw: pairs, active ones, those that float64 left open, and the largest share of the bound that an
    error took; `wrong` has a description of each pair that a kernel decided wrongly."""

    pairs: int = 0
    active: int = 0
    open_pairs: int = 0
    largest_share: float = 0.0
    wrong: list[str] = field(default_factory=list)


def search(n_pairs: int, screen: str, *, n_features: int, seed: int = 0) -> Found:
    """Look at `n_pairs` pairs or a few more, T x `n_features` a round, deterministically."""
    found, made, number = Found(), torch.Generator().manual_seed(seed), 0
    with ThreadPoolExecutor(1) as threads:
        while found.pairs < n_pairs:
            d_in = WIDTHS[(seed + number) % len(WIDTHS)]
            W_enc = _weights(number % 5, d_in, n_features, made)
            x = _rows(number % 7, d_in, made)
            x, share = _climb(x, W_enc, screen, made, threads)
            sae = _on_the_edge(x, W_enc, made)
            _compare(sae, x, screen, found, f"seed {seed}, round {number}")
            found.largest_share = max(found.largest_share, share)
            number += 1
    return found


def _weights(kind: int, d_in: int, F: int, made: torch.Generator) -> torch.Tensor:
    """Make W_enc [D, F]: usual ones, heavy tails, half-way between two bfloat16, between two int8, far apart."""
    W = torch.randn(d_in, F, generator=made) / d_in**0.5
    if kind == 1:
        W *= torch.exp(2 * torch.randn(d_in, F, generator=made))
    elif kind == 2:
        W = (
            W.view(torch.int32) & -65536 | 0x7FFF + torch.randint(0, 3, W.shape, generator=made, dtype=torch.int32)
        ).view(torch.float32)
    elif kind == 3:
        W = (torch.randint(-127, 127, W.shape, generator=made) + 0.5 - 1e-4) / 127
        W[0] = 1.0
    elif kind == 4:
        W *= 2.0 ** torch.randint(-40, 40, (1, F), generator=made)
    return W


def _rows(kind: int, d_in: int, made: torch.Generator) -> torch.Tensor:
    """Make x [T, D]: usual ones, bfloat16, massive inputs, sizes far apart, entries far apart, cancelling, half-way."""
    x = torch.randn(T, d_in, generator=made)
    if kind == 1:
        x = x.bfloat16().float()
    elif kind == 2:
        x[:, d_in // 2] = 3000 + x[:, d_in // 2]
        x[::3, 0] *= 700
    elif kind == 3:
        x *= 10.0 ** torch.randint(-25, 12, (T, 1), generator=made)
    elif kind == 4:
        x *= torch.exp(3 * torch.randn(T, d_in, generator=made))
    elif kind == 5:
        half = d_in // 2
        x[:, :half] += 1e4
        x[:, half : 2 * half] = -x[:, :half]
    elif kind == 6:
        x = (
            x.view(torch.int32) & -65536 | 0x7FFF + torch.randint(0, 3, x.shape, generator=made, dtype=torch.int32)
        ).view(torch.float32)
    return x


def _climb(
    x: torch.Tensor, W_enc: torch.Tensor, screen: str, made: torch.Generator, threads: ThreadPoolExecutor
) -> tuple[torch.Tensor, float]:
    """Change rows so that row t's product with column t errs as much as the bound allows; return the largest share.

    The start: every input pulls to the side to which its weight was rounded.
    """
    massive = find_massive(x) if screen != "fp32" else np.zeros(0, np.int64)
    weights = W_enc.T[:T].contiguous()
    columns = make_columns(weights, massive, screen, np.zeros(T), np.zeros(T), threads)
    scales = torch.from_numpy(columns.scales)
    rest = torch.ones(x.shape[1], dtype=torch.float64)
    rest[torch.from_numpy(massive)] = 0
    lost = weights.double() - columns.operand.double() * scales[:, None]

    def shares(x: torch.Tensor) -> torch.Tensor:
        rows = make_rows(x.numpy(), columns, T)
        multiply = torch._int_mm if screen == "int8" else torch.mm
        out = torch.empty((T, T), dtype=PRODUCT_DTYPES[screen])
        p = multiply(columns.operand, rows.operand.T, out=out).diagonal().double()
        p = p * torch.from_numpy(rows.terms[0]).double() if screen == "int8" else p
        truth = (x.double() * weights.double() * rest).sum(dim=1) / scales
        terms, factors = (torch.from_numpy(part).double() for part in (rows.terms[1:N_TERMS], columns.factors[:, 1:]))
        bound = (terms[:3] * factors[:, :3].T).sum(dim=0) + U_OUT[screen] * p.abs()
        share = (p - truth).abs() / bound
        return torch.where(torch.isfinite(share), share, 0.0)

    pulled = torch.where(torch.rand(x.shape, generator=made) < 0.9, x.abs() * lost.sign().float(), x)
    best = torch.where((shares(pulled) > (now := shares(x)))[:, None], pulled, x)
    now = torch.maximum(now, shares(best))
    for _ in range(CLIMBS):
        size = torch.exp(0.5 * torch.randn(x.shape, generator=made))
        flip = torch.where(torch.rand(x.shape, generator=made) < 0.03, -1.0, 1.0)
        tried = best * torch.where(torch.rand(x.shape, generator=made) < 0.2, size, 1.0) * flip
        then = shares(tried)
        best = torch.where((then > now)[:, None], tried, best)
        now = torch.maximum(now, then)
    return best, float(now.max())


def _on_the_edge(x: torch.Tensor, W_enc: torch.Tensor, made: torch.Generator) -> LoadedSae:
    """Put feature j's threshold just below, on or just above what row j % T reaches; biases make all of it positive."""
    F = W_enc.shape[1]
    h = (x.double() @ W_enc.double())[torch.arange(F) % T, torch.arange(F)]
    b_enc = torch.where(h > 0, 0.0, (h.abs() * 2).float()).float()
    b_enc += torch.where(torch.rand(F, generator=made) < 0.3, 0.1, 0.0) * h.abs().float()
    edge = (h + b_enc.double()).float()
    below, above = (torch.nextafter(edge, torch.tensor(to)) for to in (0.0, torch.inf))
    side = torch.randint(0, 5, (F,), generator=made)
    threshold = torch.stack([below, edge, above, below * 0.999, torch.zeros(F)])[side, torch.arange(F)]
    return make_sae(W_enc, b_enc, threshold.clamp_min(0))


def _compare(sae: LoadedSae, x: torch.Tensor, screen: str, found: Found, where: str) -> None:
    """Encode, and compare with float64, or with exact arithmetic where float64 cannot tell."""
    assert sae.rule is not None
    rule = sae.rule
    W, b, threshold = rule.W_enc.double(), rule.b_enc.double(), rule.threshold.double()
    h = x.double() @ W + b
    error = unit(x.shape[1]) * (x.double().norm(dim=1)[:, None] * W.norm(dim=0) + b.abs()) * 1.01
    active = (h > threshold).numpy()
    unsure = ((h - threshold).abs() <= error).nonzero().tolist()
    columns = rule.W_enc.T.contiguous().numpy()
    got = _mask(CpuKernel(sae, screen=screen, n_threads=2).encode(x))
    # What float64 leaves open is decided exactly, for each pair on which they differ and for a sample of the others.
    for number, (t, j) in enumerate(unsure):
        if got[t, j] != active[t, j] or number % 16 == 0:
            active[t, j] = exact_h(x[t].numpy(), columns[j], float(b[j])) > Fraction(float(threshold[j]))
    found.pairs += got.size
    found.active += int(active.sum())
    found.open_pairs += len(unsure)
    for t, j in np.argwhere(got != active):
        found.wrong.append(f"{where}: row {t}, feature {j}: is {active[t, j]}, and the kernel says {got[t, j]}")


def _mask(features: Csr) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros(features.shape, np.bool_)
    mask[np.repeat(np.arange(len(features.indptr) - 1), np.diff(features.indptr)), features.indices] = True
    return mask
