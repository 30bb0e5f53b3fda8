"""The CPU kernel's cost against d_sae, L0 and tokens: `python -m benchmarks.kernel_plots [--quick | --draw]`.

Time a token in memory, JumpReLU, bfloat16 activations, two threads, ours and three of kernel_others.py in turns. Leaves
docs/kernel-cost.svg, and the numbers in benchmarks/results/; --draw only draws them again. W_enc is a transposed view
of the decoder's directions here, which costs the others nothing and saves a copy of the 2.4 GB that the widest one has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.kernel import LIBRARIES, N_THREADS, OURS, in_turns
from benchmarks.kernel_data import Weights, make_rows, make_sae, make_weights, with_l0
from benchmarks.kernel_others import others
from benchmarks.report import RESULTS, describe_machine, head, publish, result_name
from encoder.kernels.cpu.kernel import CpuKernel

PLOT = Path(__file__).parent.parent / "docs" / "kernel-cost.svg"
ROUNDS = 3
SHOWN = ("(a)", "(e)", "(f)")
"""Of kernel_others.py."""
BF16 = "ours, bfloat16 screen"
TOKENS_OF = {4_096: 4096, 16_384: 2048, 65_536: 1024, 262_144: 256}
"""d_sae: tokens at once, so that the dense array of the others fits into memory."""
L0S, L0_TOKENS = (10, 30, 100, 300, 1000), 1024
TOKENS = (16, 64, 256, 1024, 4096)
AXES = {"d_sae": "features of the SAE (d_sae)", "l0": "active features a token (L0)", "tokens": "tokens at once"}
STYLES = {
    "(a)": ("#d1495b", "o", "-"),
    "(e)": ("#d98c10", "s", "--"),
    "(f)": ("#8f6fd1", "^", "--"),
    OURS: ("#1f9e89", "o", "-"),
    BF16: ("#1f9e89", "v", ":"),
}
INK = "#7d8590"
"""Legible on white and on black: the background is the page's."""


def point(axis: str, at: int, weights: Weights, n_tokens: int, rounds: int) -> dict[str, Any]:
    """Time everybody at one place of one plot: microseconds a token by what was run."""
    sae, x = make_sae(weights, is_view=True), make_rows(weights, n_tokens).bfloat16()
    low = make_sae(weights, dtype=torch.bfloat16, is_view=True)
    kernel = CpuKernel(sae, n_threads=N_THREADS)
    kernel.encode(x)  # which settles its screen
    runs = {OURS: lambda: kernel.encode(x)}
    if axis == "l0" and kernel.choice.precision != "bf16":
        second = CpuKernel(sae, screen="bf16", n_threads=N_THREADS)
        runs[BF16] = lambda: second.encode(x)
    runs |= {what: run for what, run in others(sae, low, x).items() if what[:3] in SHOWN}
    timed = in_turns(runs, n_tokens, rounds)
    print(f"measured: {axis} {at:,}", file=sys.stderr, flush=True)
    return {
        "axis": axis,
        "at": at,
        "tokens": n_tokens,
        "screen": kernel.choice.precision,
        "us": {one.what: one.wall_us for one in timed},
        "times": {one.what: one.times for one in timed},
    }


def measure(quick: bool) -> Iterator[dict[str, Any]]:
    part, rounds = (16, 1) if quick else (1, ROUNDS)
    weights = make_weights(16_384)
    for l0 in L0S:
        yield point("l0", l0, with_l0(weights, l0), L0_TOKENS // part, rounds)
    for n_tokens in TOKENS[: 4 if quick else None]:
        yield point("tokens", n_tokens, weights, n_tokens, rounds)
    del weights
    for d_sae, n_tokens in TOKENS_OF.items():
        if not quick or d_sae <= 16_384:
            yield point("d_sae", d_sae, make_weights(d_sae), n_tokens // part, rounds)


def table(points: Sequence[Mapping[str, Any]]) -> list[str]:
    whats = list(dict.fromkeys(what for one in points for what in one["us"]))
    lines = ["| against | at | tokens at once | " + " | ".join(whats) + " |", "|---|---:|---:|" + "---:|" * len(whats)]
    for one in points:
        cells = (f"{one['us'][what]:,.1f}" if what in one["us"] else "" for what in whats)
        lines.append(f"| {one['axis']} | {one['at']:,} | {one['tokens']:,} | " + " | ".join(cells) + " |")
    return lines


def draw(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    colours = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    settings = {**colours, "font.size": 10.5, "svg.hashsalt": "saefetch", "grid.color": INK, "grid.alpha": 0.25}
    with pyplot.rc_context(settings):
        figure, panels = pyplot.subplots(1, 3, figsize=(11, 4.3), sharey=True, layout="constrained")
        lines = {}
        for axis, panel in zip(AXES, panels, strict=True):
            places = sorted((one for one in points if one["axis"] == axis), key=lambda one: one["at"])
            for what in dict.fromkeys(what for one in places for what in one["us"]):
                colour, marker, style = STYLES[what if what in STYLES else what[:3]]
                xs = [one["at"] for one in places if what in one["us"]]
                ys = [one["us"][what] for one in places if what in one["us"]]
                is_ours, at = what in (OURS, BF16), 3 if what == OURS else 2
                width, filled = (2.4, colour) if is_ours else (1.6, "none")
                (line,) = panel.plot(
                    xs, ys, style, color=colour, marker=marker, linewidth=width, markersize=5, mfc=filled, zorder=at
                )
                lines[what] = line
            panel.set(xscale="log", yscale="log", xlabel=AXES[axis])
            panel.xaxis.set_major_locator(FixedLocator([one["at"] for one in places]))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1024:.0f}k" if x >= 1024 else f"{x:.0f}"))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
            panel.grid(True)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("µs a token")
        order = sorted(lines, key=lambda what: (what not in (OURS, BF16), what))
        figure.legend([lines[what] for what in order], order, loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tokens, one round, no wide SAEs; writes nothing")
    parser.add_argument("--draw", action="store_true", help="draw the results that are there")
    args = parser.parse_args()
    torch.set_num_threads(N_THREADS)
    torch.set_grad_enabled(False)
    machine = describe_machine("kernel_plots", LIBRARIES)
    if args.draw:
        points = json.loads((RESULTS / f"{result_name('kernel-cost', machine)}.json").read_text())["points"]
        draw(points, PLOT)
        return
    points = list(measure(args.quick))
    machine = describe_machine("kernel_plots", LIBRARIES)
    lines = head("The CPU kernel's cost", machine)
    lines += ["", "Microseconds a token, medians; JumpReLU, 2,304 inputs, bfloat16 activations.", "", *table(points)]
    publish("kernel-cost", machine, {"points": points}, lines, quick=args.quick)
    if not args.quick:
        draw(points, PLOT)
        print(f"written: {PLOT}")


if __name__ == "__main__":
    main()
