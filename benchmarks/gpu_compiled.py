"""What Triton's compiler makes of the GPU kernels for chips that are not here: `python -m benchmarks.gpu_compiled`.

Every kernel is compiled by Triton and assembled by ptxas, for the shape of the default SAE, and the machine code is
read: registers, stack (where spilled registers go), shared memory, tensor-core instructions. With the operations and
bytes of a token, which are counted here by hand, and the rates of the chips' datasheets this gives each stage's least
time. Nothing is run, and nothing is measured. The tables stand in docs/gpu-kernels.md; `--write` puts them there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from encoder.kernels.gpu import triton_candidates, triton_rescore, triton_rows, triton_screen
from encoder.kernels.gpu.tensor_core_bound import accumulation, flush
from encoder.kernels.gpu.triton_candidates import WORDS
from encoder.kernels.gpu.triton_kernel import TILE_TOKENS
from encoder.kernels.gpu.triton_screen import blocks_of, for_int8, group_size

DOCS = Path(__file__).parents[1] / "docs" / "gpu-kernels.md"
BEGIN, END = "<!-- made by python -m benchmarks.gpu_compiled --write -->\n", "<!-- end -->\n"
T, D, F, K = TILE_TOKENS, 2304, 16_384, 64
CANDIDATES = 115
"""Of a token, at an L0 of 100, with the float16 screen."""
MASSIVE = 8
"""Inputs that the int8 product leaves out, at most."""
F16, F64, I8, I32, I64 = "*fp16", "*fp64", "*i8", "*i32", "*i64"
TENSOR_CORES = re.compile(r"\b(UTC[A-Z]*MMA|[HIQ]G?MMA)\b")


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip of the datasheets: operations and bytes a second. `shared` is what a block may have, in bytes.

    `int8` is None where Triton does not reach the tensor core's int8.
    """

    name: str
    capability: int
    float16: float
    int8: float | None
    float64: float
    memory: float
    shared: int


CHIPS = (
    Chip("A100 80 GB", 80, 312e12, 624e12, 9.7e12, 2.04e12, 163 << 10),
    Chip("H100 SXM", 90, 989e12, 1979e12, 34e12, 3.35e12, 227 << 10),
    Chip("B200", 100, 2250e12, None, 37e12, 8.0e12, 227 << 10),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel as `TritonKernel` launches it, and what a token costs: operations, and bytes of the device's memory."""

    stage: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int
    stages: int = 3
    unit: str = "float32"
    operations: float = 0
    bytes: float = 0


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the machine code says. `stack` is in bytes a thread: 0 if nothing is spilled."""

    registers: int
    stack: int
    shared: int
    instructions: tuple[str, ...]
    flushes: bool
    fuses_float64: bool


def cases(chip: Chip, D: int = D, F: int = F) -> Iterator[Case]:
    """Yield every kernel for an SAE of D inputs and F features on a chip, in the order of the work."""
    blocks, words = blocks_of((chip.capability // 10, chip.capability % 10), D), -(-F // 32)
    counted, unpacked = (min(most, triton.next_power_of_2(words)) for most in (16 * WORDS, WORDS))
    constants = {"accumulation": accumulation(D), "flush": flush(D), "enlarge": 1.001, "D": D, "ROWS": 1}
    constants["BLOCK"] = max(16, triton.next_power_of_2(D))
    yield Case("scale_rows", triton_rows._scale_rows, {"scaled_ptr": F16, "exact_ptr": I32}, constants, 8, bytes=6 * D)
    constants = {name: value for name, value in constants.items() if name in ("enlarge", "D", "ROWS", "BLOCK")}
    constants |= {"loss": 2.0**-19, "UNDERFLOW": 2.0**-60, "N_MASSIVE": MASSIVE}
    pointers = {"massive_ptr": I64, "rounded_ptr": I8, "safe": "fp32"}
    yield Case("quantize_rows", triton_rows._quantize_rows, pointers, constants, 8, bytes=5 * D)
    for stage, mode, is_top_k, is_int8 in (
        ("screen", triton_screen.CANDIDATES, False, False),
        ("screen, int8", triton_screen.CANDIDATES, False, True),
        ("screen, TopK, floor", triton_screen.LOWER, True, False),
        ("screen, TopK", triton_screen.CANDIDATES, True, False),
    ):
        cut, operand, size = (for_int8(blocks), I8, 1) if is_int8 else (blocks, F16, 2)
        is_lower = mode == triton_screen.LOWER
        group = group_size(F, K) if is_lower else 1
        tile = {"D": D, "F": F, "BLOCK_T": cut.tokens, "BLOCK_F": cut.features, "BLOCK_D": cut.inputs}
        tile |= {"SHARING": cut.sharing, "IS_INT8": is_int8, "N_TERMS": 1 + MASSIVE if is_int8 else 0}
        yield Case(
            stage,
            triton_screen._screen,
            {"x_ptr": operand, "W_ptr": operand, **({} if is_lower else {"out_ptr": I32})},
            {**tile, "IS_TOP_K": is_top_k, "MODE": mode, "GROUP": group},
            cut.warps,
            cut.stages,
            "int8" if is_int8 else "float16",
            operations=2 * D * F,
            bytes=size * (D + D * F / T) + (4 * F / group if is_lower else F / 8),
        )
    mask = {"N_WORDS": words, "ROWS": blocks.rows}
    yield Case(
        "count", triton_candidates._count, {"mask_ptr": I32, "counts_ptr": I32}, {**mask, "BLOCK": counted}, 4,
        bytes=F / 8,
    )  # fmt: skip
    pointers = {"mask_ptr": I32, "indptr_ptr": I64, "rows_ptr": I32, "columns_ptr": I32}
    yield Case(
        "expand", triton_candidates._expand, pointers, {**mask, "BLOCK": unpacked}, 4,
        bytes=F / 8 + 8 * CANDIDATES,
    )  # fmt: skip
    pointers = {"rows_ptr": I32, "columns_ptr": I32, "order_ptr": I64, "values_ptr": F64}
    for stage, row, types in (
        ("rescore, float16 rows", 2 * D, {"x_ptr": F16}),
        ("rescore, float32 rows", 4 * D, dict[str, str]()),
    ):
        yield Case(
            stage, triton_rescore._rescore, {**types, **pointers},
            {"D": D, "IS_SCALED": bool(types), "PAIRS": blocks.pairs, "BLOCK_D": triton_rescore.INPUTS}, 4,
            unit="float64", operations=2 * D * CANDIDATES, bytes=row + 4 * D * F / T + 24 * CANDIDATES,
        )  # fmt: skip


def compile_for(case: Case, chip: Chip) -> Compiled:
    """Compile and assemble a kernel, and read the machine code."""
    names = case.kernel.arg_names
    default = {name: "i32" if name in ("T", "n") else "*fp32" for name in names}
    signature = {**default, **case.types, **dict.fromkeys(case.constants, "constexpr")}
    constants = {(names.index(name),): value for name, value in case.constants.items()}
    # Tensors begin at multiples of 16 bytes, which the launcher finds out by itself.
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]] for name, kind in signature.items() if kind.startswith("*")
    }
    made = triton.compile(
        ASTSource(case.kernel, signature, constants, aligned),
        target=GPUTarget("cuda", chip.capability, 32),
        options={"num_warps": case.warps, "num_stages": case.stages},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(made.asm["cubin"])
        usage = _tool(triton.knobs.nvidia.cuobjdump.path, "-res-usage", path)
        code = _tool(triton.knobs.nvidia.nvdisasm.path, "-c", path)
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    ptx = made.asm["ptx"]
    return Compiled(
        found["REG"],
        found["STACK"] + found["LOCAL"],
        made.metadata.shared,
        tuple(sorted(set(TENSOR_CORES.findall(code)))),
        ".ftz" in ptx,
        "fma.rn.f64" in ptx,
    )


def floor_of(case: Case, chip: Chip) -> str:
    """Return the least time that a token takes on a chip: its operations or its bytes, whichever take longer."""
    rate = {"float16": chip.float16, "int8": chip.int8, "float64": chip.float64}.get(case.unit)
    if case.operations and rate is None:
        return ""
    seconds = {case.unit: case.operations / rate if rate else 0.0, "memory": case.bytes / chip.memory}
    what = max(seconds, key=seconds.__getitem__)
    return f"{seconds[what] * 1e9:.1f} {what}"


def tables(made: dict[tuple[str, int], Compiled]) -> str:
    """Return both tables, with the compiler's version."""
    every = list(cases(CHIPS[0]))
    lines = [
        f"Triton {triton.__version__}. Registers a thread, bytes of stack a thread, kB of shared memory a block, and "
        "tensor-core instructions:",
        "",
        "| kernel | warps | " + " | ".join(f"sm_{chip.capability}" for chip in CHIPS) + " |",
        "|---|---:|" + "---|" * len(CHIPS),
    ]
    for case in every:
        found = [made[case.stage, chip.capability] for chip in CHIPS]
        cells = [
            f"{one.registers}, {one.stack} B, {one.shared / 1024:.0f} kB {' '.join(one.instructions)}".strip()
            for one in found
        ]
        lines.append(f"| {case.stage} | {case.warps} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"A token at {D:,} -> {F:,}, {CANDIDATES} candidates, tiles of {T:,} tokens; the least time in ns that the "
        "datasheets' rates leave, and what sets it:",
        "",
        "| kernel | operations | bytes | " + " | ".join(chip.name for chip in CHIPS) + " |",
        "|---|---:|---:|" + "---:|" * len(CHIPS),
    ]
    for case in every:
        cells = [floor_of(case, chip) for chip in CHIPS]
        operations = f"{case.operations / 1e6:.2f} M {case.unit}" if case.operations else ""
        lines.append(f"| {case.stage} | {operations} | {case.bytes:,.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def compile_all(chips: Iterable[Chip] = CHIPS, *shape: int) -> dict[tuple[str, int], Compiled]:
    """Compile every kernel for chips: a minute or two; what Triton has in its cache is not compiled again."""
    return {(case.stage, chip.capability): compile_for(case, chip) for chip in chips for case in cases(chip, *shape)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the Triton kernels for chips that are not here.")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCS.name}")
    flags = parser.parse_args()
    text = tables(compile_all())
    print(text)
    if flags.write:
        before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
        DOCS.write_text(before + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")


def _tool(*command: object) -> str:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
