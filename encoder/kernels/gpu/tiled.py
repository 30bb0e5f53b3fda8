"""The base of both GPU kernels: batches are staged and cut into tiles, which are halved when memory runs out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch

from encoder.file.csr import Csr
from encoder.kernels.gpu.transfer import DeviceCsr, Downloads, Uploaded, Uploads
from encoder.kernels.kernel import Kernel
from encoder.sae.sae import LoadedSae


class TiledKernel(Kernel):
    """Encodes tiles of at most `tile_tokens` rows. The results do not depend on the tiles."""

    def __init__(self, sae: LoadedSae, device: torch.device, tile_tokens: int) -> None:
        self.device, self.tile_tokens = device, tile_tokens
        self.sae, self._uploads = sae, Uploads(device)
        sae.source.to(device)

    @abstractmethod
    def encode_tile(self, x: torch.Tensor) -> DeviceCsr:
        """Encode a contiguous x [T, D] float32 on the device, to which the SAE's preprocessing has been applied."""

    def encode(self, x: torch.Tensor) -> Csr:
        return self.stage(x)()

    def stage(self, x: torch.Tensor) -> Callable[[], Csr]:
        return partial(self._encode, self._uploads.start(x))

    @torch.no_grad()
    def _encode(self, uploaded: Uploaded) -> Csr:
        """Encode tile by tile; when a tile does not fit into memory, halve the tiles, note this and go on."""
        x, downloads, start = uploaded.wait(), Downloads(self.device), 0
        while start < len(x):
            tile = x[start : start + self.tile_tokens]
            try:
                downloads.start(self.encode_tile(self.sae.prepare(tile).contiguous()))
            except torch.OutOfMemoryError:
                if len(tile) == 1:
                    raise
                self.tile_tokens = -(-len(tile) // 2)
            else:
                start += len(tile)
                continue
            # Outside the handler: the exception holds on to the tensors of the frame that failed.
            self.notes += (f"out of memory on {self.device}: tiles of {self.tile_tokens:,} rows from here on",)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return downloads.finish(self.sae.d_sae)
