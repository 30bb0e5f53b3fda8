"""The Triton kernels compile for NVIDIA's chips, without one: the interpreter accepts much that the compiler does not.

In a process of its own, because Triton's interpreter is chosen for a whole process and the other tests choose it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks.gpu_compiled import BEGIN, CHIPS, DOCS, END, Compiled, tables

SCRIPT = """
import json, sys
from dataclasses import asdict
from benchmarks.gpu_compiled import CHIPS, compile_all

names, *shape = json.loads(sys.argv[1])
made = compile_all([chip for chip in CHIPS if chip.capability in names], *shape)
print(json.dumps([[*key, asdict(found)] for key, found in made.items()]))
"""
TENSOR_CORE = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}
TENSOR_CORE_INT8 = {80: "IMMA", 90: "IGMMA", 100: "IMMA"}


def _compile(chips: list[int], *shape: int) -> dict[tuple[str, int], Compiled]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", SCRIPT, json.dumps([chips, *shape])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        (stage, chip): Compiled(**{**found, "instructions": tuple(found["instructions"])})
        for stage, chip, found in json.loads(done.stdout)
    }


def _assert_sound(made: dict[tuple[str, int], Compiled]) -> None:
    """Nothing is spilled, blocks fit, products are the tensor cores', float64 is exact, and denormals stay."""
    shared = {chip.capability: chip.shared for chip in CHIPS}
    for (stage, chip), found in made.items():
        assert found.stack == 0, f"{stage} for sm_{chip} spills {found.stack} bytes a thread"
        assert found.shared <= shared[chip], f"{stage} for sm_{chip} takes {found.shared} bytes of shared memory"
        assert not found.flushes, f"{stage} for sm_{chip} flushes float32 denormals"
        assert found.fuses_float64 or not stage.startswith("rescore")
        expected = TENSOR_CORE_INT8 if stage == "screen, int8" else TENSOR_CORE
        assert found.instructions == ((expected[chip],) if stage.startswith("screen") else ()), f"{stage} for sm_{chip}"


def test_every_kernel_compiles_for_hopper_without_spilling() -> None:
    _assert_sound(_compile([90]))


@pytest.mark.slow
def test_every_kernel_compiles_for_every_chip_and_the_tables_in_the_docs_are_these() -> None:
    made = _compile([chip.capability for chip in CHIPS])
    _assert_sound(made)
    told = DOCS.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert told == tables(made), "python -m benchmarks.gpu_compiled --write"


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(100, 200), (1000, 3000), (3584, 131_072)])
def test_other_shapes_compile_for_every_chip(shape: tuple[int, int]) -> None:
    _assert_sound(_compile([chip.capability for chip in CHIPS], *shape))
