"""The Triton kernel on this machine's GPU: `python -m benchmarks.gpu`, or `--smoke` in Triton's interpreter, untimed.

    check     10^8 (row, feature) pairs against the CPU backend, per rule and dtype: nothing is timed if one differs
    ceilings  a large bfloat16 matrix product and a large copy: what this card gives, to which the rest is compared
    stages    scale, screen, candidates, rescore, rule and assembly of one tile, by device events
    ours      a tile on the device; batches from pageable memory to CSR in memory, copies overlapped
    others    SAELens in float32 on the same card, then scipy's CSR, or torch's; the bare float32 product

Medians; inputs rotate among several sets, so that no run finds its input in a cache. Results go to
benchmarks/results/kernel-<device>.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.gpu_data import FULL, SMOKE, Size, make_rows, make_sae

if TYPE_CHECKING:
    from encoder.file.csr import Csr
    from encoder.kernels.gpu.triton_kernel import TritonKernel
    from encoder.sae.sae import LoadedSae

RESULTS = Path(__file__).parent / "results"
ROUNDS, INPUT_SETS = 20, 4
LIBRARIES = ("torch", "triton", "sae-lens", "numpy", "scipy")


@dataclass(slots=True)
class Line:
    """What was measured: seconds for `tokens` rows, and what it amounts to. No seconds in a smoke run."""

    what: str
    seconds: float | None
    tokens: int
    note: str = ""


@dataclass(slots=True)
class Bench:
    """Where it runs, and what was found."""

    device: torch.device
    size: Size
    lines: list[Line] = field(default_factory=list)
    checks: list[dict[str, object]] = field(default_factory=list)

    def time(self, what: str, run: Callable[[int], object], tokens: int, note: str = "") -> float | None:
        """Time `run(i)` by device events, i rotating among the input sets; the median of ROUNDS after as many."""
        if self.device.type != "cuda":
            run(0)
            self.lines.append(Line(what, None, tokens, note))
            return None
        seconds = []
        for i in range(2 * ROUNDS):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            run(i % INPUT_SETS)
            ended.record()
            ended.synchronize()
            seconds.append(began.elapsed_time(ended) / 1e3)
        median = statistics.median(seconds[ROUNDS:])
        self.lines.append(Line(what, median, tokens, note))
        print(f"{what}: {median * 1e3:.3f} ms, {tokens / median:,.0f}/s {note}", flush=True)
        return median


def check(bench: Bench) -> None:
    """Compare with the CPU backend. Raises: SystemExit if a support differs, or a value by more than one unit."""
    from encoder.kernels import make_kernel
    from encoder.kernels.gpu.triton_kernel import TritonKernel

    size = bench.size
    for k in (None, size.k):
        for dtype in (torch.bfloat16, torch.float32):
            x = make_rows(size, size.check_tokens, dtype, seed=100)
            truth = make_kernel(make_sae(size, k), torch.device("cpu"), "cpu").encode(x)
            for screen in ("fp16", "int8"):
                found = TritonKernel(make_sae(size, k), bench.device, screen=screen).encode(x)
                about = {"k": k, "dtype": str(dtype), "screen": screen, "pairs": len(x) * size.F}
                result = {**about, **_difference(found, truth)}
                bench.checks.append(result)
                print(f"check: {result}", flush=True)
                if not result["same_support"] or int(str(result["max_ulp"])) > 1:
                    raise SystemExit("the GPU and the CPU differ: nothing is timed")


def _difference(found: Csr, truth: Csr) -> dict[str, object]:
    same = np.array_equal(found.indptr, truth.indptr) and np.array_equal(found.indices, truth.indices)
    if not same:
        return {"same_support": False, "max_ulp": -1, "nnz": len(truth.indices)}
    ulps = np.abs(found.data.view(np.int32).astype(np.int64) - truth.data.view(np.int32))
    return {"same_support": True, "max_ulp": int(ulps.max(initial=0)), "nnz": len(truth.indices)}


def ceilings(bench: Bench) -> float | None:
    """Return the card's bfloat16 rate in FLOP/s, by a large product."""
    n = bench.size.peak
    a, b = (torch.randn(n, n, device=bench.device).bfloat16() for _ in range(2))
    seconds = bench.time(f"bfloat16 product, {n} x {n} x {n}", lambda _: torch.mm(a, b), n)
    source = torch.randn(n * n, device=bench.device)
    bench.time("copy on the device", lambda _: source.clone(), n, f"{2 * source.numel() * 4 / 1e6:.0f} MB moved")
    return 2 * n**3 / seconds if seconds else None


def stages(bench: Bench, kernel: TritonKernel, xs: list[torch.Tensor], label: str, peak: float | None) -> None:
    """Time each stage of one tile, and the whole tile."""
    from encoder.kernels.gpu.triton_candidates import bounds, expand
    from encoder.kernels.gpu.triton_rescore import rescore
    from encoder.kernels.gpu.triton_rows import quantize_rows, scale_rows
    from encoder.kernels.gpu.triton_screen import for_int8, screen

    size, blocks, columns = bench.size, kernel.blocks, kernel.columns
    tiles = [kernel.sae.prepare(x.to(bench.device)).contiguous() for x in xs]
    scaled = [scale_rows(tile, blocks.rows) for tile in tiles]
    masks = [screen(rows, columns, blocks, k=kernel.k) for rows in scaled]
    starts = [bounds(mask, blocks.rows) for mask in masks]
    pairs = [expand(mask, start, int(start[-1]), blocks.rows) for mask, start in zip(masks, starts, strict=True)]
    bench.time(f"{label}: scale_rows", lambda i: scale_rows(tiles[i], blocks.rows), size.T)
    seconds = bench.time(f"{label}: screen", lambda i: screen(scaled[i], columns, blocks, k=kernel.k), size.T)
    if seconds and peak:
        n_products = 1 if kernel.k is None else 2
        rate = n_products * 2 * size.T * size.D * size.F / seconds
        bench.lines[-1].note = f"{rate / 1e12:.0f} TFLOP/s, {rate / peak:.0%} of this card's bfloat16 product"
    int8 = kernel.int8_columns(tiles[0])
    whole = [quantize_rows(tile, int8, blocks.rows) for tile in tiles]
    bench.time(f"{label}: quantize_rows", lambda i: quantize_rows(tiles[i], int8, blocks.rows), size.T)
    bench.time(f"{label}: screen in int8", lambda i: screen(whole[i], int8, for_int8(blocks), k=kernel.k), size.T)
    for name, operand in (("fp16", columns), ("int8", int8)):
        n = len(kernel.candidates(tiles[0], operand)[1])
        bench.time(
            f"{label}: all up to the candidates' float64, {name}",
            lambda i, operand=operand: kernel.candidates(tiles[i], operand),
            size.T,
            f"{n / size.T:.0f} candidates a token",
        )
    bench.time(
        f"{label}: bounds, expand",
        lambda i: expand(masks[i], bounds(masks[i], blocks.rows), len(pairs[i][0]), blocks.rows),
        size.T,
    )
    for what, exact in (("from float16", True), ("from float32", False)):
        sources = [(rows.x, rows.scale) if exact else (tile, None) for rows, tile in zip(scaled, tiles, strict=True)]
        bench.time(
            f"{label}: rescore {what}",
            lambda i, sources=sources: rescore(*sources[i], *kernel.weights, *pairs[i], blocks.pairs),
            size.T,
        )
    n_active = len(kernel.encode_tile(tiles[0]).indices)
    note = f"{len(pairs[0][0]) / max(1, n_active):.3f} candidates an active feature, L0 {n_active / size.T:.1f}"
    bench.time(f"{label}: whole tile on the device", lambda i: kernel.encode_tile(tiles[i]), size.T, note)


def end_to_end(bench: Bench, kernel: TritonKernel, xs: list[torch.Tensor], label: str) -> None:
    """Time batches from pageable memory to CSR in memory: the next one is staged before this one is encoded."""
    n_batches = 4 * INPUT_SETS if bench.device.type == "cuda" else 2

    def run() -> None:
        staged = kernel.stage(xs[0])
        for i in range(1, n_batches + 1):
            this, staged = staged, kernel.stage(xs[i % len(xs)])
            this()

    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
        if bench.device.type != "cuda":
            break
    is_timed, n = bench.device.type == "cuda", n_batches * bench.size.T
    bench.lines.append(
        Line(f"{label}: host to CSR, overlapped", statistics.median(seconds[1:]) if is_timed else None, n)
    )


def others(bench: Bench, sae: LoadedSae, xs: list[torch.Tensor], label: str) -> None:
    """Time what people do today on the same card."""
    import scipy.sparse

    module, size = sae.module.to(bench.device), bench.size
    torch.set_float32_matmul_precision("highest")
    on_device = [x.to(bench.device).float() for x in xs]
    W_enc = module.W_enc.data

    @torch.no_grad()
    def encode(i: int) -> torch.Tensor:
        dense: torch.Tensor = module.encode(xs[i].to(bench.device).float())
        return dense

    bench.time(f"{label}: bare float32 product", lambda i: torch.mm(on_device[i], W_enc), size.T)
    bench.time(f"{label}: SAELens float32, dense on the device", encode, size.T)
    bench.time(f"{label}: SAELens float32 + to_sparse_csr", lambda i: encode(i).to_sparse_csr().cpu(), size.T)
    bench.time(f"{label}: SAELens float32 + scipy", lambda i: scipy.sparse.csr_matrix(encode(i).cpu().numpy()), size.T)


def write(bench: Bench, folder: Path) -> Path:
    """Write the table and the numbers; return the table's path."""
    is_gpu = bench.device.type == "cuda"
    device = torch.cuda.get_device_name(bench.device) if is_gpu else "interpreter"
    path = folder / f"kernel-{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.md"
    about = {
        "device": device,
        "system": platform.platform(terse=True),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "size": str(asdict(bench.size)),
        "command": "python -m benchmarks.gpu" + ("" if is_gpu else " --smoke (nothing is timed)"),
    }
    lines = [f"# The Triton kernel on {device}", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| checked against the CPU backend | pairs | same support | max ulp | nnz |", "|---|---:|---|---:|---:|"]
    lines += [
        f"| k={c['k']}, {c['dtype']}, {c['screen']} | {c['pairs']:,} | {c['same_support']} | {c['max_ulp']} "
        f"| {c['nnz']:,} |"
        for c in bench.checks
    ]
    lines += ["", "| what | ms | tokens/s | |", "|---|---:|---:|---|"]
    for line in bench.lines:
        ms, rate = (f"{line.seconds * 1e3:.3f}", f"{line.tokens / line.seconds:,.0f}") if line.seconds else ("", "")
        lines.append(f"| {line.what} | {ms} | {rate} | {line.note} |")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    numbers = {"about": about, "checks": bench.checks, "lines": [asdict(line) for line in bench.lines]}
    path.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Check and time the Triton kernel on this machine's GPU.")
    parser.add_argument("--smoke", action="store_true", help="tiny, in Triton's interpreter on the CPU; times nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the two files go")
    flags = parser.parse_args()
    if flags.smoke:
        os.environ["TRITON_INTERPRET"] = "1"  # heeded when Triton is first imported, which is below
    bench = Bench(torch.device("cpu" if flags.smoke else "cuda"), SMOKE if flags.smoke else FULL)
    from encoder.kernels.gpu.triton_kernel import TritonKernel
    from encoder.kernels.gpu.triton_screen import Blocks

    check(bench)
    peak = ceilings(bench)
    for k in (None, bench.size.k):
        for dtype in (torch.bfloat16, torch.float32):
            label = f"{'jumprelu' if k is None else f'topk {k}'} {str(dtype).removeprefix('torch.')}"
            xs = [make_rows(bench.size, bench.size.T, dtype, seed) for seed in range(INPUT_SETS)]
            # The interpreter is slow by the program, so there each one does more.
            blocks = Blocks(rows=32, pairs=128) if flags.smoke else None
            kernel = TritonKernel(make_sae(bench.size, k), bench.device, blocks=blocks)
            stages(bench, kernel, xs, label, peak)
            end_to_end(bench, kernel, xs, label)
            if k is None:
                others(bench, make_sae(bench.size, k), xs, label)
    print(write(bench, flags.out).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
