"""The kernels: rows of activations go in, sparse features come out, and the features are exact.

`choose.py` takes an SAE and a device and makes the kernel for them. `kernel.py` is the interface that every kernel
keeps. There are four kinds of kernel:

    cpu/           int8, bfloat16 or float32 products screen the features, float64 decides
    gpu/           the same on a GPU: float16 tensor cores in Triton, or float32 through torch
    reference.py   plain torch in float64; the truth in the tests
    fallback.py    `sae.encode`, for architectures without an exact rule

`scaled.py` stands around one of them where the values are wanted in another scale.

A screen is a fast product with a proved bound on its error. A feature whose bound stays below its threshold is not
active; the features that remain are the candidates, which are computed again in float64. What the screens on both
kinds of processor need stands here:

    bound.py       the proof of the bound for int8, bfloat16 and float32 products, and its constants
    candidates.py  what a screen hands on
    massive.py     the few inputs that a coarse product leaves out
    rule.py        the SAE's rule applied to the candidates' float64 values
    exact.py       exact arithmetic, for decisions that are too close for float64

`cpu/` and `gpu/` import nothing from each other.
"""

from encoder.kernels.choose import BACKENDS, check_backend, choose, make_kernel
from encoder.kernels.kernel import Kernel

__all__ = ["BACKENDS", "Kernel", "check_backend", "choose", "make_kernel"]
