"""Copies between the host and a GPU, at the same time as the arithmetic: rows up, CSR down.

    copy stream       x of batch n+1 -> device  |  event
    compute stream                                 waits for the event, then works on batch n+1
    copy stream                                                             CSR of a tile -> pinned memory

Rows go through two pinned buffers: a copy from pageable memory would block the host and overlap with nothing. On a
device that is not CUDA's the same calls make plain copies.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from encoder.file.csr import Csr


class DeviceCsr(NamedTuple):
    """A tile's rows on the device: indptr int64 [T + 1], indices int32 [nnz] rising in a row, data float32 [nnz]."""

    indptr: torch.Tensor
    indices: torch.Tensor
    data: torch.Tensor


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Rows that are on the device when the event `ready` has happened; without an event they are there already."""

    x: torch.Tensor
    ready: torch.cuda.Event | None = None

    def wait(self) -> torch.Tensor:
        """Return the rows. The current stream waits for them; the host does not."""
        if self.ready is not None:
            stream = torch.cuda.current_stream(self.x.device)
            stream.wait_event(self.ready)
            self.x.record_stream(stream)
        return self.x


@dataclass(slots=True)
class _Slot:
    """A pinned buffer; it is free again when the event `copied` has happened."""

    buffer: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    copied: torch.cuda.Event | None = None


class Uploads:
    """Copies batches to the device, two at a time at most. Any thread may call."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _copy_stream(device)
        self._slots, self._lock = [_Slot(), _Slot()], threading.Lock()

    def start(self, x: torch.Tensor) -> Uploaded:
        """Start to copy x. On a CUDA device the caller may change x as soon as this returns."""
        if self._stream is None:
            return Uploaded(x.to(self._device))
        with self._lock, torch.cuda.stream(self._stream):
            slot = self._slots[0]
            self._slots.reverse()
            if slot.copied is not None:
                slot.copied.synchronize()
            n_bytes = x.numel() * x.element_size()
            if slot.buffer.numel() < n_bytes:
                slot.buffer = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
            pinned = slot.buffer[:n_bytes].view(x.dtype).view(x.shape)
            pinned.copy_(x)
            on_device = pinned.to(self._device, non_blocking=True)
            slot.copied = self._stream.record_event()
            return Uploaded(on_device, slot.copied)


def _copy_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


class Downloads:
    """Copies the tiles of one batch back, while later tiles are computed."""

    def __init__(self, device: torch.device) -> None:
        self._stream = _copy_stream(device)
        self._tiles: list[DeviceCsr] = []

    def start(self, tile: DeviceCsr) -> None:
        """Start to copy a tile that the current stream computes."""
        if self._stream is None:
            self._tiles.append(DeviceCsr(*(tensor.cpu() for tensor in tile)))
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            self._tiles.append(DeviceCsr(*(self._copy(tensor, self._stream) for tensor in tile)))

    def finish(self, d_sae: int) -> Csr:
        """Wait for the copies; return all rows."""
        if self._stream is not None:
            self._stream.synchronize()
        parts = [
            Csr(tile.indptr.numpy(), tile.indices.numpy(), tile.data.numpy(), (len(tile.indptr) - 1, d_sae))
            for tile in self._tiles
        ]
        return Csr.concatenate(parts, d_sae)

    @staticmethod
    def _copy(tensor: torch.Tensor, stream: torch.cuda.Stream) -> torch.Tensor:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        tensor.record_stream(stream)
        return pinned
