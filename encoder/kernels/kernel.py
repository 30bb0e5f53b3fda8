"""The interface of all kernels: a worker hands over rows and gets a CSR matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from encoder.file.csr import Csr

SCREEN_VARIABLE = "SAEFETCH_SCREEN"
"""The environment's variable that names the screen's precision."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The screen's precision and the reason for it in a few words.

    The precision is "int8", "bf16" or "fp32" on a CPU, and "int8" or "fp16" on a GPU.

    `is_forced`: the user named the precision, so the kernel keeps it however slow it turns out. `contenders` are the
    precisions between which the first rows decide, the chosen one among them; empty if nothing is left to decide.
    """

    precision: str
    reason: str
    is_forced: bool = False
    contenders: tuple[str, ...] = ()


class Kernel(ABC):
    """Turns rows into features. A kernel is made for one SAE and one device.

    `name` is the kernel's name in messages. `reason` says why this kernel was chosen. `notes` grows by a sentence for
    each thing that the user should know of the run, such as smaller tiles after memory ran out. `choice` is the
    screen's precision, for a kernel that has several.
    """

    name: str
    device: torch.device
    reason: str = ""
    notes: tuple[str, ...] = ()
    choice: Choice | None = None

    @abstractmethod
    def encode(self, x: torch.Tensor) -> Csr:
        """Encode x [T, D] -> CSR [T, F] with float32 values. x lies on the CPU, in the float dtype of the shard."""

    def stage(self, x: torch.Tensor) -> Callable[[], Csr]:
        """Start the copy of x [T, D] to the device and return the function that encodes x. Any thread may call."""
        return partial(self.encode, x)
