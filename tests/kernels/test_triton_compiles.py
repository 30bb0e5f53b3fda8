"""The Triton kernels compile for NVIDIA's chips, without one: the interpreter accepts much that the compiler does not.

In a process of its own, because Triton's interpreter is chosen for a whole process and the other tests choose it.
"""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from encoder.kernels.gpu import triton_candidates, triton_rescore, triton_rows, triton_screen

F32, F16, I32, D, F = "*fp32", "*fp16", "*i32", 100, 200
MASK = dict(N_WORDS=7, ROWS=1, BLOCK=8)
SCREEN = dict(D=D, F=F, BLOCK_T=128, BLOCK_F=128, BLOCK_D=64, SHARING=8)
RESCORE = dict(D=D, PAIRS=8, BLOCK_D=256)
KERNELS = [
    (triton_rows._scale_rows, dict(scaled_ptr=F16, exact_ptr=I32),
     dict(accumulation=1e-4, flush=1e-3, enlarge=1.001, D=D, ROWS=1, BLOCK=128)),
    (triton_screen._screen, dict(x_ptr=F16, W_ptr=F16, out_ptr=I32), dict(SCREEN, IS_TOP_K=False, MODE=1, GROUP=1)),
    (triton_screen._screen, dict(x_ptr=F16, W_ptr=F16), dict(SCREEN, IS_TOP_K=True, MODE=0, GROUP=32)),
    (triton_screen._screen, dict(x_ptr=F16, W_ptr=F16, out_ptr=I32), dict(SCREEN, IS_TOP_K=True, MODE=1, GROUP=1)),
    (triton_candidates._count, dict(mask_ptr=I32, counts_ptr=I32), MASK),
    (triton_candidates._expand, dict(mask_ptr=I32, indptr_ptr="*i64", rows_ptr=I32, columns_ptr=I32), MASK),
    (triton_rescore._rescore, dict(x_ptr=F16, rows_ptr=I32, columns_ptr=I32, order_ptr="*i64", values_ptr="*fp64"),
     dict(RESCORE, IS_SCALED=True)),
    (triton_rescore._rescore, dict(rows_ptr=I32, columns_ptr=I32, order_ptr="*i64", values_ptr="*fp64"),
     dict(RESCORE, IS_SCALED=False)),
]
for kernel, types, constants in KERNELS:
    default = {name: "i32" if name in ("T", "n") else F32 for name in kernel.arg_names}
    signature = {**default, **types, **dict.fromkeys(constants, "constexpr")}
    constants = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    made = triton.compile(ASTSource(kernel, signature, constants), target=target, options=dict(num_warps=4))
    ptx = made.asm["ptx"]
    print(kernel.__name__, "tensor" if "mma" in ptx else "", "f64" if "fma.rn.f64" in ptx else "", ".ftz" in ptx)
"""


@pytest.mark.parametrize("capability", ["80", "90"])
def test_every_kernel_compiles(capability: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, capability], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    assert [line.split()[1] for line in lines if line.startswith("_screen")] == ["tensor"] * 3
    assert all(" f64 " in line for line in lines if line.startswith("_rescore"))
    assert not any(line.endswith("True") for line in lines), "float32 denormals would be flushed"
