"""Where Triton kernels run: in its interpreter on the CPU, or, with `pytest -m gpu`, compiled on an NVIDIA GPU.

The choice is an environment variable that Triton reads when it is first imported, which `import torch` may do, and it
holds for the process. So it is made here, before any test module is collected and in every xdist worker, and not in
the tests. Nothing but the Triton kernels heeds it: `--backend auto` never picks an interpreted kernel.
"""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
