"""The CPU kernel: an int8, bfloat16 or float32 product screens the features, float64 decides.

    rows of a tile (one thread each)         x -> operand, norms
      for each chunk of features             p = W x'  (oneDNN, into a buffer that stays in the cache)
                                             scan -> hits -> float64 dot products       screen.py
      all hits -> rows -> the rule -> CSR                                               rule.py

Tiles share nothing, so no thread waits for another; each product runs on the thread of its tile. The results do not
depend on how the rows are cut into tiles: a value depends on its row and its feature alone, and exact arithmetic
decides which features are active.

Shapes: T rows, P = T padded to whole masks, D = d_in, F = d_sae.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from encoder.arrays import F32, F64, I64
from encoder.file.csr import Csr
from encoder.kernels.bound import U_OUT
from encoder.kernels.cpu.calibrate import screen_precision
from encoder.kernels.cpu.floor import other_side, raise_floors
from encoder.kernels.cpu.lanes import MASK_LANES
from encoder.kernels.cpu.operand import PRODUCT_DTYPES, Columns, make_columns, make_rows, multiply
from encoder.kernels.cpu.screen import as_array, by_row, confirm, scan
from encoder.kernels.cpu.trial import MIN_ROWS, Trial, seconds_of_passes
from encoder.kernels.kernel import Choice, Kernel
from encoder.kernels.massive import FIRST_ROWS, find_massive
from encoder.kernels.rule import Decider
from encoder.sae.rules import Rule
from encoder.sae.sae import LoadedSae

CHUNK_FEATURES, CHUNK_BYTES = 2048, 1 << 22
"""Features of one product, and bytes of one product. A product of this size stays in the third-level cache. It has
1,024 rows in bfloat16 and 512 in the other precisions; the more rows, the less often each feature's weights are
read."""
TOP_TILE_ELEMENTS = 1 << 22
"""For TopK, the products of a whole tile are kept: 8 MB of bfloat16, or 64 rows if those take more."""
WASTED_SHARE = {"bf16": 1 / 16, "fp32": 1 / 8}
"""If int8 lets this share of the features through in vain, looking at them takes as long as its product saves over that
of the next best precision. Both times grow with d_in; at 2,304 a look takes 0.2 µs."""
STAGES = ("operand", "product", "floor", "scan", "rescore", "assemble")


@dataclass(slots=True)
class Stages:
    """What the kernel has done so far. Seconds are summed over the threads.

    `hits` counts the pairs of row and feature that the scan let through, `candidates` those computed in float64.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    rows: int = 0
    hits: int = 0
    candidates: int = 0

    def add(self, seconds: dict[str, float], rows: int, hits: int, candidates: int) -> None:
        for stage, value in seconds.items():
            self.seconds[stage] += value
        self.rows += rows
        self.hits += hits
        self.candidates += candidates


class CpuKernel(Kernel):
    """Exact features on the CPU. `choice` is the precision of the screen, and the reason for it."""

    name = "cpu"
    device = torch.device("cpu")
    choice: Choice

    def __init__(self, sae: LoadedSae, *, screen: str | None = None, n_threads: int | None = None) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        self._sae, self._rule = sae, sae.rule
        self.choice = screen_precision(screen, d_in=sae.d_in, is_top_k=sae.rule.k is not None)
        self._weights = sae.rule.W_enc.T.contiguous()  # [F, D]: a feature's weights lie together
        self._decider = Decider.of(sae.rule, self._weights)
        self._limits, self._floor_factors = _limits(sae.rule)
        self._columns: Columns | None = None
        self._lock = threading.Lock()
        # A thread that has never read its number of threads takes the number that any thread set last. So the caller's
        # number is read here, before the initializer below sets 1 in the kernel's own threads.
        callers = torch.get_num_threads()
        n_threads = n_threads or callers
        self._threads = ThreadPoolExecutor(n_threads, "kernel", initializer=torch.set_num_threads, initargs=(1,))
        self._n_threads = n_threads
        self.stages = Stages()

    def encode(self, x: torch.Tensor) -> Csr:
        return self.encode_prepared(self._sae.prepare(x))

    def encode_prepared(self, x: torch.Tensor) -> Csr:
        """Encode x [T, D] float32, to which the SAE's preprocessing has been applied."""
        x = x.contiguous()
        columns = self._columns_for(x)
        size = min(self._tile_rows(columns), -(-max(1, len(x)) // self._n_threads))
        size = -(-size // MASK_LANES) * MASK_LANES
        tiles = [x[start : start + size] for start in range(0, len(x), size)]
        parts = list(self._threads.map(lambda tile: self._tile(tile, columns), tiles))
        self._reconsider()
        return Csr.concatenate(parts, self._sae.d_sae)

    def _settle(self, x: F32, massive: I64) -> None:
        """Choose among the contending precisions by how long each takes for the first rows."""
        names, rule = self.choice.contenders, self._decider
        trial = Trial(self._weights, rule.b_enc, self._limits, self._floor_factors, rule.scale, self._rule.k)
        seconds = seconds_of_passes(names, x, trial, massive, self._threads)
        precision = min(names, key=seconds.__getitem__)
        others = [f"{name} takes {seconds[name] / seconds[precision]:.2f} times as long" for name in names]
        others.pop(names.index(precision))
        self.choice = Choice(precision, f"measured on the first rows: {', '.join(others)}")
        self.notes += (f"screen in {precision}, {self.choice.reason}",)

    def _reconsider(self) -> None:
        """Replace int8 by the next best precision where the features that it lets through cost more than it saves."""
        with self._lock:
            wasted = (self.stages.hits - self.stages.candidates) / max(1, self.stages.rows)
            if self.choice.precision != "int8" or self.choice.is_forced:
                return
            precision = screen_precision(d_in=self._sae.d_in, without_int8=True).precision
            if wasted <= WASTED_SHARE[precision] * self._sae.d_sae:
                return
            reason = f"int8 let {wasted:,.0f} features a token through in vain"
            self.choice, self._columns = Choice(precision, reason), None
            self.notes += (f"screen in {precision}: {reason}",)

    def _tile_rows(self, columns: Columns) -> int:
        n_rows = tile_rows(columns.precision)
        if self._rule.k is None:
            return n_rows
        return max(MASK_LANES, min(n_rows, TOP_TILE_ELEMENTS // max(1, self._sae.d_sae)))

    def _columns_for(self, x: torch.Tensor) -> Columns:
        """Return the features' operand. It is made when the first rows come, which decide the massive inputs.

        It is made again when the first batch of MIN_ROWS rows has decided between the contenders.
        """
        with self._lock:
            is_open = bool(self.choice.contenders) and len(x) >= MIN_ROWS
            if self._columns is None or is_open:
                massive = find_massive(x[:FIRST_ROWS])
                if is_open:
                    self._settle(x[:FIRST_ROWS].numpy(), massive)
                precision = self.choice.precision
                if precision == "fp32":
                    massive = massive[:0]
                columns = make_columns(
                    self._weights, massive, precision, self._limits, self._floor_factors, self._threads
                )
                if len(x) == 0:
                    return columns
                self._columns = columns
            return self._columns

    def _tile(self, x: torch.Tensor, columns: Columns) -> Csr:
        clock, n_rows, d_sae = _StageClock(), len(x), self._sae.d_sae
        data, u_out = x.numpy(), np.float32(U_OUT[columns.precision])
        n_padded = -(-n_rows // MASK_LANES) * MASK_LANES
        rows = make_rows(data, columns, n_padded)
        clock.spent("operand")
        chunks = [slice(j, min(j + CHUNK_FEATURES, d_sae)) for j in range(0, d_sae, CHUNK_FEATURES)]
        keeps_all = self._rule.k is not None
        n_kept = d_sae if keeps_all else min(CHUNK_FEATURES, d_sae)
        products = torch.empty((n_kept, n_padded), dtype=PRODUCT_DTYPES[columns.precision])

        def product(chunk: slice) -> torch.Tensor:
            out = products[chunk] if keeps_all else products[: chunk.stop - chunk.start]
            multiply(columns, chunk, rows, out)
            clock.spent("product")
            return out

        if self._rule.k is not None:
            heaps = np.zeros((n_rows, min(self._rule.k, d_sae)), np.float32)
            unit = (self._decider.scale * columns.scales).astype(np.float32)
            for chunk in chunks:
                part = as_array(product(chunk))
                raise_floors(part, rows.terms, other_side(columns.factors[chunk]), u_out, unit[chunk], n_rows, heaps)
                clock.spent("floor")
        hits, found = [], np.empty(min(CHUNK_FEATURES, d_sae) * n_padded, np.int32)
        n_found = 0
        for chunk in chunks:
            part = as_array(products[chunk] if keeps_all else product(chunk))
            counts = np.empty(len(part), np.int64)
            n_hits = scan(part, rows.terms, columns.factors[chunk], u_out, n_rows, found, counts)
            n_found += n_hits
            clock.spent("scan")
            rule = self._decider.weights, self._decider.b_enc, self._limits, self._floor_factors
            hits.append(confirm(data, rows, columns, chunk, *rule, found[:n_hits], counts))
            clock.spent("rescore")
        features = self._decider.decide(data, rows.norms, by_row(hits, n_rows))
        clock.spent("assemble")
        with self._lock:
            self.stages.add(clock.seconds, n_rows, n_found, sum(len(part.rows) for part in hits))
        return features


def tile_rows(precision: str) -> int:
    """Return the largest number of rows of a tile."""
    return CHUNK_BYTES // (CHUNK_FEATURES * PRODUCT_DTYPES[precision].itemsize)


class _StageClock:
    """Adds up the seconds that one thread spends in each stage."""

    def __init__(self) -> None:
        self.seconds, self._last = dict.fromkeys(STAGES, 0.0), time.perf_counter()

    def spent(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now


def _limits(rule: Rule) -> tuple[F64, F64]:
    """Return the limit that x.w has to exceed, and the factor of a row's floor; both float64 [F]."""
    limits = rule.threshold.double().numpy() - rule.b_enc.double().numpy()
    floor_factors = np.zeros(len(limits))
    if rule.k is not None:
        scale = np.ones(len(limits)) if rule.scale is None else rule.scale.double().numpy()
        floor_factors = np.divide(-(1 - 2.0**-18), scale, out=floor_factors, where=scale > 0)
        limits[scale <= 0] = np.inf  # a scale of 0 makes h 0, which is never active
    return limits, floor_factors
