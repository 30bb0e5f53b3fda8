"""What an encode needs in any case, fetched beside the reading of the SAE's weights.

The kernel's loops are numba's, and its first call takes half a second of Python. Reading and hashing weights leave
Python to others. So both happen at once, where there is a second processor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def warming() -> Iterator[None]:
    """Import what encodes, and call numba once, while the block runs; wait for it at the end."""
    thread = threading.Thread(target=_warm, name="warm")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _warm() -> None:
    with suppress(Exception):  # what is missing is told by who needs it
        import torch

        from encoder.machine.repeats import zero_rows

        zero_rows(torch.zeros(1, 1))
