"""Load an SAE by its name in SAELens' registry, from a repository of Hugging Face, or from a folder or file.

    --sae-release R --sae-id ID    SAELens' registry and its loaders; R may also be any repository, OWNER/NAME, and ID a
                                   folder of SAELens in it
    --sae-path PATH                a folder or file, known by its content: see encoder.sae.loaders

All end in an SAE with float32 weights. SAELens is imported only for its registry, and for SAEs that need its code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from encoder.errors import InputError
from encoder.options import Options
from encoder.sae.at_address import brought_here, told_of
from encoder.sae.keys import SAE_LENS
from encoder.sae.known import Memory
from encoder.sae.loaders import load_path, sae_lens_folder
from encoder.sae.memory import check_fits
from encoder.sae.orientation import is_transposed
from encoder.sae.plain import Plain
from encoder.sae.rules import rule_of
from encoder.sae.sae import LoadedSae
from encoder.sae.scale import decoder_norms, scale_note
from encoder.stores.object_path import path_of

if TYPE_CHECKING:
    from sae_lens import SAE

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
    return load_named(Options().name_sae(sae_release, sae_id, None if sae_path is None else path_of(sae_path)))


def load_named(sae: Mapping[str, Any]) -> LoadedSae:
    """Load the SAE of a ticket: {"sae_release", "sae_id", "sae_path"}, and "fold_decoder_norm" if it is to be folded.

    Raises: InputError if it is named in no way or two, does not exist, or is not an SAE.
    """
    release, sae_id, named_path = (sae.get(key) for key in ("sae_release", "sae_id", "sae_path"))
    path = path_of(named_path) if named_path else None
    if (path is None) == (release is None) or (release is None) != (sae_id is None):
        raise InputError("name the SAE by --sae-release R --sae-id ID, or by --sae-path PATH")
    memory, hub, expected_l0 = Memory(sae), None, None
    if path is None:
        from encoder.sae.from_registry import from_registry  # takes SAELens along, in seconds

        loaded, expected_l0, hub = from_registry(str(release), str(sae_id))
    else:
        here = brought_here(path)
        with told_of(path, here):
            check_fits(here)
            loaded = load_path(here)
    name = path or f"{release} {sae_id}"
    module = loaded.module
    if not isinstance(module, Plain):
        module = module.to(torch.float32).eval().requires_grad_(False)
    _check(module, name)
    if loaded.rebuilds and is_transposed(module):
        raise InputError(
            f"{name}: W_enc or W_dec looks transposed: as they lie, no feature's encoder points where its decoder does."
            f" With as many features as inputs the shapes do not tell; turn one of the two, and save it again"
        )
    known = memory.confirmed()
    if known is None:
        _check_numbers(module, name)
    sha256 = weights_sha256(module) if known is None else known.weights_sha256
    if isinstance(module, Plain):
        module.lay_by_feature()
    rule = rule_of(module)
    notes = loaded.notes
    if rule is None:
        notes += (f"{module.cfg.architecture()}: no exact rule for this architecture; sae.encode in float64 is used",)
    identity = {
        "sae_release": release,
        "sae_id": sae_id,
        "sae_path": str(path.absolute()) if path else None,
        "neuronpedia_id": loaded.neuronpedia_id,
        "weights_sha256": sha256,
    }
    trained_on = loaded.trained_on or SAE_LENS.facts(dict(module.cfg.metadata.items()))
    least, largest = _decoder_norm(module) if known is None else known.decoder_norm
    if (note := scale_note(least, largest, is_folded=False)) is not None:
        notes += (note,)
    made = LoadedSae(module, rule, identity, expected_l0, notes, trained_on, loaded.rebuilds, (least, largest))
    if known is None:
        memory.keep(made.known, hub)
    return made.fold_decoder_norm() if sae.get("fold_decoder_norm") else made


def weights_sha256(module: Plain | SAE[Any]) -> str:
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


def _decoder_norm(module: Plain | SAE[Any]) -> tuple[float, float]:
    norms = decoder_norms(module)
    return round(float(norms.min(initial=1)), 6), round(float(norms.max(initial=1)), 6)


def _check(module: Plain | SAE[Any], name: object) -> None:
    architecture = module.cfg.architecture()
    if architecture in WITH_CONTEXT:
        raise InputError(f"{name}: a {architecture} SAE needs whole texts, not single tokens; it is not supported")
    if module.cfg.normalize_activations in sae_lens_folder.UNFOLDED:
        raise InputError(sae_lens_folder.unfolded(name, module.cfg.normalize_activations))


def _check_numbers(module: Plain | SAE[Any], name: object) -> None:
    for weight, tensor in module.state_dict().items():
        # A NaN is the least and the largest of all: ten times as fast as to ask of each number whether it is finite.
        if tensor.numel() and not all(map(torch.isfinite, torch.aminmax(tensor))):
            raise InputError(f"{name}: its weights are damaged: {weight} holds NaN or infinity; download them again")
