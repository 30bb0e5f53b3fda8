"""An SAE by its name in SAELens' registry, or in a repository of Hugging Face. Importing this imports SAELens."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import EntryNotFoundError, HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]  # of its HTTP library
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name
from sae_lens.loading.pretrained_saes_directory import (
    PretrainedSAELookup,
    get_config_overrides,
    get_norm_scaling_factor,
    get_pretrained_saes_directory,
    get_repo_id_and_folder_name,
)

from encoder.errors import InputError, UnreachableError
from encoder.sae import registry_memory
from encoder.sae.known import Hub
from encoder.sae.loaders import llama_scope, lm_saes, sae_lens_folder, sparsify
from encoder.sae.loaders.loaded import DAMAGED, Loaded, why
from encoder.sae.memory import Memory
from encoder.sae.plain import Plain, config_of
from saefetch.net.certificates import advice, is_untrusted, shared_certificates

SETTLED = ("sae_lens", "gemma_2")
"""Loaders of SAELens of which it is known that they read one repository, and only files of the SAE's own folder."""
EXECUTE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
WITH_CONTEXT = ("temporal",)
BY_OURS = {
    "llama_scope": (llama_scope.CONFIG, llama_scope.WEIGHTS),
    "llama_scope_r1_distill": (lm_saes.CONFIG, lm_saes.WEIGHTS),
    "sparsify": (sparsify.CONFIG, sparsify.WEIGHTS),
}
"""Loaders of SAELens that pass over a setting which decides features, and the files that ours read."""


def from_registry(release: str, sae_id: str) -> tuple[Loaded, float | None, Hub | None]:
    """Return the SAE, the number of active features a token that it was trained for, and its files, where known."""
    known = named(release, sae_id)
    with _told(release, sae_id):
        return _downloaded(release, sae_id, known)


def memory_of(release: str, sae_id: str, precision: str = "bf16") -> Memory | None:
    """Return what an SAE takes, without its weights; None where that is not known. Raises: InputError."""
    named(release, sae_id)
    with _told(release, sae_id):
        return registry_memory.of_name(release, sae_id, precision)


def named(release: str, sae_id: str) -> PretrainedSAELookup | None:
    """Return what the registry says of a release; None of a repository. Raises: InputError where it has no such SAE."""
    directory = get_pretrained_saes_directory()
    if release not in directory and "/" not in release:
        raise InputError(f"--sae-release {release}: SAELens knows no such release; {_closest(release, directory)}")
    if release in directory and sae_id not in directory[release].saes_map:
        near = _closest(sae_id, directory[release].saes_map)
        raise InputError(f"--sae-id {sae_id}: the release {release} has no such SAE; {near}")
    return directory.get(release)


@contextmanager
def _told(release: str, sae_id: str) -> Iterator[None]:
    """Say in words what goes wrong with a download."""
    try:
        with shared_certificates():
            yield
    except (FileNotFoundError, ConnectionError, HTTPError) as exc:  # no network, no such file or repository, no access
        advised = f" No secure connection: {advice()}" if is_untrusted(exc) else ""
        raise UnreachableError(f"{release} {sae_id} could not be downloaded: {why(exc)}{advised}") from exc
    except UnpicklingError as exc:
        raise InputError(
            f"{release} {sae_id} was downloaded, but its file needs pickle, which can run code, so it is not loaded:"
            " in a process that trusts it, save the tensors alone, and give that file as --sae-path"
        ) from exc
    except DAMAGED as exc:
        raise InputError(f"{release} {sae_id} was downloaded, but SAELens cannot load it: {why(exc)}") from exc


def _downloaded(
    release: str, sae_id: str, known: PretrainedSAELookup | None
) -> tuple[Loaded, float | None, Hub | None]:
    loader = get_conversion_loader_name(release)
    repository, folder = get_repo_id_and_folder_name(release, sae_id)
    at = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    hub = Hub(at, folder) if loader in SETTLED else None
    if loader not in WITH_CONTEXT:
        registry_memory.check_fits(release, sae_id)
    if loader == "sae_lens":
        return _from_hub(release, sae_id, known), _expected_l0(known, sae_id), hub
    neuronpedia_id = known.neuronpedia_id.get(sae_id) if known else None
    if loader in WITH_CONTEXT:
        raise InputError(
            f"{release} {sae_id}: a {loader} SAE needs whole texts, not single tokens; it is not supported"
        )
    if loader in BY_OURS:
        factor = get_norm_scaling_factor(release, sae_id)
        loaded = _by_ours(loader, repository, folder, factor, known.model if known else None)
        return replace(loaded, neuronpedia_id=neuronpedia_id), _expected_l0(known, sae_id), hub
    with _pickles_are_data():
        module = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    return Loaded(_plain(module), neuronpedia_id=neuronpedia_id), _expected_l0(known, sae_id), hub


@contextmanager
def _pickles_are_data() -> Iterator[None]:
    """For the block, take away the variable with which `torch.load` would execute what a repository's pickle says."""
    value = os.environ.pop(EXECUTE, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[EXECUTE] = value


def _by_ours(loader: str, repository: str, folder: str, factor: float | None, model: str | None) -> Loaded:
    """Load by a loader of ours an SAE of which SAELens' loader passes over a setting that decides features."""
    files = [hf_hub_download(repository, f"{folder}/{name}") for name in BY_OURS[loader]]
    path = Path(files[0]).parent
    if loader == "sparsify":
        return sparsify.load(path)
    return llama_scope.load(path, factor) if loader == "llama_scope" else lm_saes.load(path, factor, model)


def _plain(module: SAE[Any]) -> Plain | SAE[Any]:
    """Return the same SAE as a `Plain`, where it can be one."""
    config = config_of(module.cfg.to_dict())
    plain = None if config is None else Plain.of(config, module.state_dict())
    return module if plain is None else plain


def _from_hub(release: str, sae_id: str, known: PretrainedSAELookup | None) -> Loaded:
    """Load a folder of SAELens from Hugging Face, with what SAELens' registry knows beyond the folder."""
    repository, folder = get_repo_id_and_folder_name(release, sae_id)
    hf_hub_download(repository, f"{folder}/{sae_lens_folder.WEIGHTS}")
    path = Path(hf_hub_download(repository, f"{folder}/{sae_lens_folder.CONFIG}")).parent
    for name in sae_lens_folder.scalers_of(path):
        try:
            hf_hub_download(repository, f"{folder}/{name}")
        except (EntryNotFoundError, LocalEntryNotFoundError):
            continue
    changes, factor = dict(get_config_overrides(release, sae_id)), get_norm_scaling_factor(release, sae_id)
    loaded = sae_lens_folder.load(path, is_vouched=known is not None, changes=changes, factor=factor)
    neuronpedia_id = known.neuronpedia_id.get(sae_id) if known else loaded.neuronpedia_id
    return replace(loaded, neuronpedia_id=neuronpedia_id)


def _expected_l0(known: PretrainedSAELookup | None, sae_id: str) -> float | None:
    if known is None:
        return None
    in_path = re.search(r"average_l0_(\d+)", known.saes_map.get(sae_id, ""))
    return known.expected_l0.get(sae_id) or (float(in_path[1]) if in_path else None) or None


def _closest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"the closest is {near[0]}; `saefetch list` shows those that Neuronpedia has" if near else "it has none"
