"""How much memory an SAE of SAELens' registry takes, from its configuration: before its weights are downloaded.

SAELens finds the widths of an SAE in a file of some kilobytes, in the header of the weights, or in its own table. A
layer of a cross-layer transcoder has a decoder for each layer after it, which are read before they are summed: the
header of the file says how much that is. Importing this imports SAELens.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from sae_lens.loading.pretrained_sae_loaders import (
    get_conversion_loader_name,
    get_safetensors_tensor_shapes,
    load_sae_config_from_huggingface,
)
from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

from encoder.errors import InputError
from encoder.machine.free_memory import free_bytes
from encoder.sae.loaders.loaded import DAMAGED
from encoder.sae.memory import Memory, gigabytes, of_widths


def of_name(release: str, sae_id: str, precision: str = "bf16") -> Memory | None:
    """Return what the SAE takes; None where its configuration does not say it.

    Raises: what huggingface_hub raises where it cannot be reached.
    """
    try:
        config = load_sae_config_from_huggingface(release, sae_id)
        memory = of_widths(int(config["d_in"]), int(config["d_sae"]), precision)
        return replace(memory, reading=_read(release, sae_id, memory.reading))
    except (ConnectionError, LocalEntryNotFoundError):
        raise
    except (*DAMAGED, EntryNotFoundError):  # the loader may do without it, or says what is wrong
        return None


def check_fits(release: str, sae_id: str) -> None:
    """Raises: InputError if the SAE takes more memory than is free; what `of_name` raises."""
    needed, free = of_name(release, sae_id), free_bytes(torch.device("cpu"))
    if needed is not None and needed.peak > free:
        raise InputError(f"{release} {sae_id}: takes {needed}; {gigabytes(free)} of memory are free on this machine")


def _read(release: str, sae_id: str, usual: int) -> int:
    """Return the bytes that are read for an SAE, in float32, as SAELens reads them."""
    loader = get_conversion_loader_name(release)
    repository, folder = get_repo_id_and_folder_name(release, sae_id)
    if loader != "mntss_clt_layer_transcoder":
        return usual
    files = [f"{name}_{folder}.safetensors" for name in ("W_enc", "W_dec")]
    shapes = [shape for file in files for shape in get_safetensors_tensor_shapes(repository, file).values()]
    return sum(4 * int(prod(shape)) for shape in shapes)
