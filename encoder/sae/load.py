"""Load an SAE by its name in SAELens' registry, from a repository of Hugging Face, or from a folder or file.

    --sae-release R --sae-id ID    SAELens' registry and its loaders; R may also be any repository, OWNER/NAME, and ID a
                                   folder of SAELens in it
    --sae-path PATH                a folder or file, known by its content: see encoder.sae.loaders

All end in a module of SAELens with float32 weights.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
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

from encoder.errors import InputError
from encoder.options import Options
from encoder.sae.keys import SAE_LENS
from encoder.sae.loaders import load_path, sae_lens_folder
from encoder.sae.loaders.loaded import DAMAGED, Loaded, why
from encoder.sae.rules import rule_of
from encoder.sae.sae import LoadedSae
from encoder.sae.scale import decoder_norms, scale_note

WITH_CONTEXT = ("temporal",)
"""Architectures whose features of a token depend on the tokens before it: rows of a shard are not enough."""
ENCODING = (
    "apply_b_dec_to_input", "k", "normalize_activations", "rescale_acts_by_decoder_norm", "reshape_activations",
    "residual_threshold", "max_iterations", "stop_on_duplicate_support",
)  # fmt: skip
"""What a module's configuration says, beside the weights, of which features are active."""


def load_sae(
    sae_release: str | None = None, sae_id: str | None = None, *, sae_path: str | Path | None = None
) -> LoadedSae:
    """Load an SAE by its SAELens name, or from a folder or file; without arguments the default SAE.

    Raises: InputError if there is no such SAE, or the names contradict each other.
    """
    return load_named(Options().name_sae(sae_release, sae_id, None if sae_path is None else Path(sae_path)))


def load_named(sae: Mapping[str, Any]) -> LoadedSae:
    """Load the SAE of a ticket: {"sae_release", "sae_id", "sae_path"}, and "fold_decoder_norm" if it is to be folded.

    Raises: InputError if it is named in no way or two, does not exist, or is not an SAE.
    """
    release, sae_id, named_path = (sae.get(key) for key in ("sae_release", "sae_id", "sae_path"))
    path = Path(named_path) if named_path else None
    if (path is None) == (release is None) or (release is None) != (sae_id is None):
        raise InputError("name the SAE by --sae-release R --sae-id ID, or by --sae-path PATH")
    expected_l0 = None
    if path is None:
        loaded, expected_l0 = _from_registry(str(release), str(sae_id))
    else:
        loaded = load_path(path)
    name = path or f"{release} {sae_id}"
    module = loaded.module.to(torch.float32).eval().requires_grad_(False)
    _check(module, name)
    rule = rule_of(module)
    notes = loaded.notes
    if rule is None:
        notes += (f"{module.cfg.architecture()}: no exact rule for this architecture; sae.encode in float64 is used",)
    identity = {
        "sae_release": release,
        "sae_id": sae_id,
        "sae_path": str(path.absolute()) if path else None,
        "neuronpedia_id": loaded.neuronpedia_id,
        "weights_sha256": weights_sha256(module),
    }
    trained_on = loaded.trained_on or SAE_LENS.facts(module.cfg.metadata.to_dict())
    norms = decoder_norms(module)
    least, largest = round(float(norms.min(initial=1)), 6), round(float(norms.max(initial=1)), 6)
    if (note := scale_note(least, largest, is_folded=False)) is not None:
        notes += (note,)
    made = LoadedSae(module, rule, identity, expected_l0, notes, trained_on, loaded.rebuilds, (least, largest))
    return made.fold_decoder_norm() if sae.get("fold_decoder_norm") else made


def weights_sha256(module: SAE[Any]) -> str:
    """Hash what the features come from: architecture, settings of the encoding, and all weights in order of name.

    Of the weights, names, shapes and float32 bytes count: it is the same however the SAE was loaded.
    """
    cfg = module.cfg
    settings = {name: getattr(cfg, name) for name in ENCODING if hasattr(cfg, name)}
    digest = hashlib.sha256(f"{cfg.architecture()} {json.dumps(settings, sort_keys=True)}\n".encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def _check(module: SAE[Any], name: object) -> None:
    architecture = module.cfg.architecture()
    if architecture in WITH_CONTEXT:
        raise InputError(f"{name}: a {architecture} SAE needs whole texts, not single tokens; it is not supported")
    if module.cfg.normalize_activations in sae_lens_folder.UNFOLDED:
        raise InputError(sae_lens_folder.unfolded(name, module.cfg.normalize_activations))
    for weight, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name}: its weights are damaged: {weight} holds NaN or infinity; download them again")


def _from_registry(release: str, sae_id: str) -> tuple[Loaded, float | None]:
    """Return the SAE and the number of active features a token that it was trained for, where known."""
    directory = get_pretrained_saes_directory()
    if release not in directory and "/" not in release:
        raise InputError(f"--sae-release {release}: SAELens knows no such release; {_closest(release, directory)}")
    if release in directory and sae_id not in directory[release].saes_map:
        near = _closest(sae_id, directory[release].saes_map)
        raise InputError(f"--sae-id {sae_id}: the release {release} has no such SAE; {near}")
    known = directory.get(release)
    try:
        if get_conversion_loader_name(release) == "sae_lens":
            return _from_hub(release, sae_id, known), _expected_l0(known, sae_id)
        module = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    except (FileNotFoundError, ConnectionError, HTTPError) as exc:  # no network, no such file or repository, no access
        raise InputError(f"{release} {sae_id} could not be downloaded: {why(exc)}") from exc
    except DAMAGED as exc:
        raise InputError(f"{release} {sae_id} was downloaded, but SAELens cannot load it: {why(exc)}") from exc
    neuronpedia_id = known.neuronpedia_id.get(sae_id) if known else None
    return Loaded(module, neuronpedia_id=neuronpedia_id), _expected_l0(known, sae_id)


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
