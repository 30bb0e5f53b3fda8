"""The seam between a worker and the arithmetic: rows in, CSR out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from encoder.file.csr import Csr


@dataclass(frozen=True, slots=True)
class Choice:
    """The precision, int8, bf16 or fp32, and why, in a few words. A forced one is kept, whatever it costs.

    `contenders` are those, the chosen one among them, between which the first rows decide.
    """

    precision: str
    reason: str
    is_forced: bool = False
    contenders: tuple[str, ...] = ()


class Kernel(ABC):
    """Turns rows into features. A kernel knows one SAE and one device; `name` is what the command line calls it.

    `reason` says why this kernel and no other, for the worker to print; `notes` what happened on the way, in the order
    it happened: smaller tiles after running out of memory. `choice` is the screen's precision, where there is a choice.
    """

    name: str
    device: torch.device
    reason: str = ""
    notes: tuple[str, ...] = ()
    choice: Choice | None = None

    @abstractmethod
    def encode(self, x: torch.Tensor) -> Csr:
        """Encode x [T, D] as read from the shard, on the CPU, any float dtype -> CSR [T, F] with float32 values."""

    def stage(self, x: torch.Tensor) -> Callable[[], Csr]:
        """Start to bring x [T, D] to the device; return the call that encodes it. May run in another thread."""
        return partial(self.encode, x)
