"""How far a tensor core's product can be from the exact one, proved, and what the screen needs for its test.

The product is float16's, up to **The test**, or int8's, which the last part is about.

**Scaling.** Row t is multiplied by r = 2^a and column j by 2^b, so that the largest entry of each lies in [2^14, 2^15):
x' = r x and w' = 2^b W_j, exactly. Their float16 roundings are xs and ws. Powers of two cost nothing, float16's 11 bits
beat bfloat16's 8 at the same speed, bfloat16 and float16 activations stay exact over 30 binary orders of magnitude
below the row's largest, and a product is at most 2^30, so nothing overflows, whatever the norms.

**The unit.** Tensor cores add K products and the accumulator at once: exact products, each addend cut towards zero at
2^-(23 + e) of the largest addend's power of two, an exact sum, cut to float32. (K, e) is (4, 0) on V100, (8, 1) on A100
and Ada, (16, 2) on H100, H200 and B200. The largest addend's power of two is taken before normalisation, which is only
lower, except that a subnormal operand counts as 2^-14. Sources: M. Fasi, N. J. Higham, M. Mikaitis, S. Pranesh,
"Numerical behavior of NVIDIA tensor cores", PeerJ CS 7:e330, 2021; F. A. Khattak, M. Mikaitis, "Accurate models of
NVIDIA tensor cores", arXiv:2512.07004, whose models agree with the chips bit for bit.

**Accumulation.** Let S = |xs|.|ws| <= ||xs|| ||ws||. Cutting only shrinks, so no accumulator exceeds S. A step loses
less than (K + 1) 2^-e 2^-23 S at the alignment and 2^-23 S at the end; there are ceil(D / K) steps. V100 is the worst
of the three, by a factor of two or more:

    |p - xs.ws| <= gamma ||xs|| ||ws||,    n = 6 ceil(D / 4) 2^-23,    gamma = n / (1 - n)

This also covers float32 sums that round to nearest, in any order (Higham's gamma_D has a third of it).

**Operands.**  |x'.w' - xs.ws| <= ||x'|| ||dw|| + ||dx|| ||ws||,  with dx = x' - xs and dw = w' - ws measured.
A unit that flushes subnormal operands loses at most 2^-14 sqrt(D) times the other side's norm; that is added on both
sides, twice, which also covers subnormals in the alignment and all underflow of the float32 arithmetic here.

**The test.** With c = 2^-b, A >= ||x'|| and B >= ||dx|| + (gamma + 2^-21) ||xs|| + 2^-13 sqrt(D) for each row, and
error >= c (||dw|| + 2^-13 sqrt(D)), norm >= c (||ws|| + 2^-12) for each column,

    p c + A error + B norm <= limit r,    limit <= threshold - b_enc    implies    not active.

2^-21 ||xs|| is for the roundings of this float32 arithmetic (a few 2^-24 of |p c| <= ||xs|| norm) and of the float64
sum that decides later; A and B are enlarged by 1 + 2^-20 for their own. `limit` is rounded down. r and c are powers of
two, so multiplying by them is exact, up to overflow of limit r, which gives the right infinity. Every comparison is
written so that NaN makes a candidate: rows or columns that hold infinity or NaN rule nothing out. A row of zeros has
A = B = 0 and needs no slack. Where TopK compares features with each other, bias r with an error of 2^-22 |bias r|
stands on the left side, and both signs of the error are used.

**int8.** The accumulation is exact, in int32; D < 2^17 cannot overflow it. The few massive inputs S (massive.py) are no
part of the product; R are the others. Row t is multiplied by r, about 127 over its largest entry in R, and column j's
entries in R are divided by c, about a 127th of the largest; xq and wq are whole numbers. With dx = r x_R - xq and
dw = W_R - c wq, measured,

    |r x_R.W_R - c xq.wq| <= ||r x_R|| ||dw|| + ||dx|| c ||wq||.

So A >= ||r x_R|| and B >= ||dx|| + 2^-19 ||xq||, error >= ||dw|| and norm >= c (||wq|| + 2^-12) go into the same test.
Its value has r x_S.W_S added in float32; a third product, of C >= sum of |r x_i| over S and 2^-19 ||W_S||, covers its
roundings. A value is at most 12 roundings of 2^-24 from exact ones, relative to the sum of the sizes of its parts;
2^-19 is 32 of them. r is no power of two here, so that limit r is rounded, and 2^-22 |limit r| stands on the left.
2^-60 on top of B and C, and D 2^-60 on top of A, cover underflow: r <= 2^100, and squares that are lost are below
2^-126. Where (A + C) times the largest column's norm exceeds 10^37, float32 might overflow: such a row's B is NaN.

Shapes: T rows, D = d_in, F = d_sae.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from encoder.sae.rules import Rule

ENLARGE = 1.0 + 2.0**-20
LARGEST_EXPONENT = 14
"""The largest entry of a scaled row or column lies in [2^14, 2^15)."""
COLUMN_SHIFTS = (-60, 60)
"""Columns are not scaled further, so that p c stays far from float32's ends. Beyond, the bound is loose, not wrong."""
COLUMNS_AT_A_TIME = 4096
LARGEST_INT8 = 127
INT8_LOSS = 2.0**-19
INT8_TERMS = 1 << 17
SAFE_PRODUCT = 1e37


@dataclass(frozen=True, slots=True)
class Columns:
    """The features as the screen sees them: W [F, D] float16 or int8, and float32 [F] each of c, error, norm, offset.

    `offset` is the limit, or the bias where the rule is TopK. For int8, `massive` int64 [S] are the inputs that W
    leaves out, `factors` float32 [1 + S, F] are 2^-19 of their norm and their weights, and a row whose A + C is below
    `safe` cannot overflow.
    """

    W: torch.Tensor
    unscale: torch.Tensor
    error: torch.Tensor
    norm: torch.Tensor
    offset: torch.Tensor
    massive: torch.Tensor
    factors: torch.Tensor
    safe: float = SAFE_PRODUCT

    def to(self, device: torch.device) -> Columns:
        """Copy to the device."""
        names = ("W", "unscale", "error", "norm", "offset", "massive", "factors")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def accumulation(d_in: int) -> float:
    """Return gamma: the accumulation's largest error, relative to ||xs|| ||ws||."""
    n = 6 * math.ceil(d_in / 4) * 2.0**-23
    if n >= 0.5:
        raise ValueError(f"no bound for tensor-core products of {d_in} terms")
    return n / (1 - n)


def flush(d_in: int) -> float:
    """Return what subnormals may cost, twice over: 2^-13 sqrt(D), to be multiplied by the other side's norm."""
    return 2.0**-13 * math.sqrt(d_in)


def columns_of(rule: Rule) -> Columns:
    """Scale, round and measure the columns of W_enc, in float64. With `rule.scale` the columns are the scaled ones."""
    d_in, d_sae = rule.W_enc.shape
    W = torch.empty(d_sae, d_in, dtype=torch.float16)
    unscale, error, norm = (torch.empty(d_sae, dtype=torch.float64) for _ in range(3))
    for start in range(0, d_sae, COLUMNS_AT_A_TIME):
        some = slice(start, start + COLUMNS_AT_A_TIME)
        w = rule.W_enc[:, some].T.double()
        if rule.scale is not None:
            w = w * rule.scale[some, None].double()
        largest = w.abs().amax(dim=1) if d_in else torch.zeros(len(w), dtype=torch.float64)
        shift = (LARGEST_EXPONENT + 1 - torch.frexp(largest).exponent).clamp(*COLUMN_SHIFTS)
        shift[largest == 0] = COLUMN_SHIFTS[1]  # nothing to scale; this makes `norm` as good as nothing
        w = w * _power_of_two(shift)[:, None]
        W[some] = w.half()
        unscale[some] = _power_of_two(-shift)
        rounding = torch.linalg.vector_norm(w - W[some].double(), dim=1)
        error[some] = torch.where(largest > 0, rounding + flush(d_in), 0.0) * unscale[some]
        norm[some] = (torch.linalg.vector_norm(W[some].double(), dim=1) + 2.0**-12) * unscale[some]
    _finish(error, norm)
    offset, nothing = _offset(rule, norm), torch.zeros(0, dtype=torch.int64)
    return Columns(W, unscale.float(), error.float(), norm.float(), offset, nothing, torch.zeros(0, d_sae))


def int8_columns_of(rule: Rule, massive: torch.Tensor) -> Columns:
    """Round the columns to int8, all inputs but the massive ones, and measure them, in float64."""
    d_in, d_sae = rule.W_enc.shape
    W = torch.empty(d_sae, d_in, dtype=torch.int8)
    unscale, error, norm = (torch.empty(d_sae, dtype=torch.float64) for _ in range(3))
    factors = torch.empty(1 + len(massive), d_sae, dtype=torch.float64)
    for start in range(0, d_sae, COLUMNS_AT_A_TIME):
        some = slice(start, start + COLUMNS_AT_A_TIME)
        w = rule.W_enc[:, some].T.double()
        if rule.scale is not None:
            w = w * rule.scale[some, None].double()
        factors[1:, some] = w[:, massive].T
        w[:, massive] = 0
        largest = w.abs().amax(dim=1) if d_in else torch.zeros(len(w), dtype=torch.float64)
        unit = (largest / LARGEST_INT8).clamp(min=2.0**-60).float().double()
        W[some] = (w / unit[:, None]).round().clamp(-LARGEST_INT8, LARGEST_INT8).nan_to_num().to(torch.int8)
        unscale[some] = unit
        kept = W[some].double()
        error[some] = torch.linalg.vector_norm(w - kept * unit[:, None], dim=1)
        norm[some] = (torch.linalg.vector_norm(kept, dim=1) + 2.0**-12) * unit
    factors[0] = torch.linalg.vector_norm(factors[1:], dim=0) * ENLARGE
    _finish(error, norm)
    safe = SAFE_PRODUCT / max(1.0, float((error + norm + factors[0]).amax(dim=0))) if d_sae else SAFE_PRODUCT
    factors[0] *= INT8_LOSS
    offset = _offset(rule, norm)
    return Columns(W, unscale.float(), error.float(), norm.float(), offset, massive, factors.float(), safe)


def _finish(error: torch.Tensor, norm: torch.Tensor) -> None:
    """Enlarge the bounds for the roundings of this arithmetic; what is not finite rules nothing out."""
    for bound in (error, norm):
        bound *= ENLARGE
        bound[~torch.isfinite(bound)] = torch.inf


def _offset(rule: Rule, norm: torch.Tensor) -> torch.Tensor:
    """Return each feature's limit, or its bias where the rule is TopK; a bias may ask for another `norm`."""
    if rule.k is None:
        return _limit(rule.threshold.double() - rule.b_enc.double())
    bias = rule.b_enc.double() * (1.0 if rule.scale is None else rule.scale.double())
    norm[(bias != 0) & (bias.abs() < 2.0**-100)] = torch.inf  # too small for 2^-22 of it: always a candidate
    return bias.float()


def _power_of_two(shift: torch.Tensor) -> torch.Tensor:
    """Return 2^shift exactly: float64's exponent field. (`torch.ldexp` goes through a float32 power.)"""
    return ((shift.to(torch.int64) + 1023) << 52).view(torch.float64)


def _limit(exact: torch.Tensor) -> torch.Tensor:
    """Round float64 down to float32; nothing negative may come near to underflow, where it would be rounded up to 0."""
    exact = exact - exact.abs() * 2.0**-50
    exact = torch.where((exact < 0) & (exact > -(2.0**-100)), -(2.0**-100), exact)
    largest = torch.finfo(torch.float32).max
    rounded = exact.clamp(max=largest).float()
    return torch.where(rounded.double() > exact, torch.nextafter(rounded, torch.tensor(-torch.inf)), rounded)
