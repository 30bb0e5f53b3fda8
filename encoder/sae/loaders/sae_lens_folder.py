"""A folder of SAELens, of any age: cfg.json and sae_weights.safetensors.

Two kinds of folder have these files:

    inference SAE         what SAELens publishes and loads
    training checkpoint   what the trainer leaves on the way: an architecture for training (batchtopk), weights for
                          training (log_threshold), or a scaling of the activations that is not yet part of the weights

The trainer's own last step makes an inference SAE of a checkpoint: the scaling is folded into the weights, and the
weights are converted. SAELens' code for this step is called, in by_sae_lens.py. The scaling stands in a file beside the
weights: `activation_scaler.json` and `activation_whitening.safetensors` since SAELens 6, before that
`activations_store_state.safetensors`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from encoder.errors import InputError
from encoder.sae.keys import SAE_LENS
from encoder.sae.loaders.defaults import defaulted
from encoder.sae.loaders.loaded import DAMAGED, Loaded, read_config, read_safetensors, whole_number, why
from encoder.sae.plain import Plain, config_of, is_plain

if TYPE_CHECKING:
    from sae_lens import SAE

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SCALER, WHITENING, OLD_SCALER = SCALERS = (
    "activation_scaler.json", "activation_whitening.safetensors", "activations_store_state.safetensors",
)  # fmt: skip
UNFOLDED = ("expected_average_only_in", "covariance_whitening")
"""Values of `normalize_activations` that are folded into the weights when training ends."""
_FOR_DECODING = ("scaling_factor", "finetuning_scaling_factor")
_WITHOUT_K = ("standard", "gated")
_DECIDING = {
    "normalize_activations", "apply_b_dec_to_input", "rescale_acts_by_decoder_norm", "activation_fn",
    "activation_fn_str", "reshape_activations", "k",
}  # fmt: skip
_FOR_TRAINING = {"topk_threshold", "log_threshold"}


def claims(path: Path) -> bool:
    """Claim a folder with a cfg.json and no weights too: the weights that are missing are named then."""
    has_config = (path / CONFIG).is_file() and not any(path.glob("*.safetensors")) and not any(path.glob("*.pt"))
    is_another = not (path / CONFIG).is_file() and (path / "config.json").is_file()  # of Language-Model-SAEs
    return path.is_dir() and (((path / WEIGHTS).is_file() and not is_another) or has_config)


def load(
    path: Path, *, is_vouched: bool = False, changes: Mapping[str, Any] | None = None, factor: float | None = None
) -> Loaded:
    """Load the folder. Raises: InputError.

    From SAELens' registry come `changes`, which replace keys of cfg.json, and `factor`, the scaling of activations.
    """
    raw = {**read_config(path / CONFIG), **(changes or {})}
    notes = SAE_LENS.check(raw, path / CONFIG, is_vouched=is_vouched)
    weights = read_safetensors(path / WEIGHTS)
    factors = [weights.pop(name) for name in _FOR_DECODING if name in weights]
    if any((factor != 1).any() for factor in factors):
        notes += ("its finetuning scaling factor is for decoding: features and their explained variance do without it",)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = defaulted(raw)
            if config is None:
                config = _sae_lens().defaulted(raw)
            config["metadata"] = {**(raw.get("metadata") or {}), **(config.get("metadata") or {})}
            _check(config, raw, path)
            module, more = _module(config, raw, weights, path, factor)
    except DAMAGED as exc:
        raise InputError(f"--sae-path {path}: SAELens cannot load this folder: {why(exc)}") from exc
    metadata = raw.get("metadata") or {}
    return Loaded(module, notes + more, SAE_LENS.facts({**metadata, **raw}), metadata.get("neuronpedia_id"))


def scalers_of(path: Path) -> tuple[str, ...]:
    """Return the files that may hold the scaling of activations, where cfg.json asks for one."""
    asked = read_config(path / CONFIG).get("normalize_activations")
    return SCALERS if asked is True or asked in UNFOLDED else ()


def _check(config: Mapping[str, Any], raw: Mapping[str, Any], path: Path) -> None:
    """Refuse what SAELens would pass over.

    Such are an activation function of another architecture, a k that is missing, a k of an SAE that keeps all positive
    features, and a setting that stands under metadata alone.
    """
    architecture = config["architecture"]
    if not is_plain(architecture) and not _sae_lens().knows(architecture):
        raise InputError(f"{path / CONFIG}: SAELens knows no architecture {architecture!r}")
    hook_name = config["metadata"].get("hook_name")
    if config.get("reshape_activations") == "hook_z" and hook_name and not str(hook_name).endswith("_z"):
        raise InputError(
            f"{path / CONFIG}: reshape_activations is 'hook_z', which joins the heads of a hook_z, but hook_name is"
            f" {str(hook_name)[:80]!r}; one of the two is wrong"
        )
    said = raw.get("activation_fn", raw.get("activation_fn_str"))
    kwargs = raw.get("activation_fn_kwargs") or {}
    if said == "topk" and architecture != "topk":
        why_not = f"the architecture is {architecture!r}" if kwargs.get("k") else "activation_fn_kwargs has no k"
        raise InputError(
            f"{path / CONFIG}: write architecture 'topk' and k, if the k largest features count: the activation"
            f" function is topk, but {why_not}"
        )
    if set(kwargs) - {"k"}:
        raise InputError(f"{path / CONFIG}: activation_fn_kwargs is {kwargs!r}, and only k can be applied")
    if architecture in _WITHOUT_K and raw.get("k") is not None:
        raise InputError(
            f"{path / CONFIG}: k is {raw['k']!r}, and a {architecture} SAE keeps every feature over its threshold. If"
            f" only the k largest count, the architecture is 'topk'; if not, take k out of the file"
        )
    for key in _DECIDING & set(raw.get("metadata") or {}):
        if (value := raw["metadata"][key]) not in (None, False, "none", "relu", raw.get(key)):
            raise InputError(
                f"{path / CONFIG}: {key} is {value!r} under metadata, where it is not applied, and {raw.get(key)!r}"
                f" beside it; write what holds beside metadata, and take it out there"
            )
    if "topk" in architecture:
        if config.get("k") is None:
            raise InputError(
                f"{path / CONFIG}: a {architecture} SAE needs k, and there is none; add the k it was trained with"
            )
        if is_plain(architecture) or _sae_lens().is_for_inference(architecture):
            whole_number(config["k"], "k", path / CONFIG, int(config["d_sae"]))


def _module(
    config: dict[str, Any],
    raw: Mapping[str, Any],
    weights: dict[str, torch.Tensor],
    path: Path,
    factor: float | None,
) -> tuple[Plain | SAE[Any], tuple[str, ...]]:
    architecture = config["architecture"]
    is_for_training = "decoder_init_norm" in raw or bool(_FOR_TRAINING & set(weights))
    is_whitened = config.get("normalize_activations") == "covariance_whitening"
    known = None if is_for_training or is_whitened else config_of(config)
    plain = None if known is None else Plain.of(known, weights)
    if plain is not None:
        return plain, _fold(plain, path, factor)
    by_sae_lens = _sae_lens()
    if is_for_training or not by_sae_lens.is_for_inference(architecture):
        training = by_sae_lens.training_module(config, weights)
        folded = _fold(training, path, factor)
        note = f"a training checkpoint ({architecture}), converted as the trainer does it at the end of training"
        return by_sae_lens.converted(training, config["metadata"]), (*folded, note)
    module = by_sae_lens.inference_module(config, weights)
    return module, _fold(module, path, factor)


def _sae_lens() -> Any:
    """Return what needs SAELens, which takes seconds to import."""
    from encoder.sae.loaders import by_sae_lens

    return by_sae_lens


def _fold(module: Any, path: Path, known: float | None) -> tuple[str, ...]:
    """Fold the scaling of activations that the configuration asks for into the weights; return what was done.

    Raises: InputError if the scaling is not there, or is there and the configuration does not ask for it.
    """
    asked = module.cfg.normalize_activations
    factor, is_whitening_there = (known, False) if known is not None else _scaling(path)
    if asked not in UNFOLDED:
        if (factor is not None and factor != 1) or is_whitening_there:
            raise InputError(
                f"{path}: {SCALER} scales activations by {factor}, but normalize_activations is {asked!r} in {CONFIG}:"
                f" if the scaling is part of the weights, delete {SCALER}; if not, write {UNFOLDED[0]!r} into {CONFIG}"
            )
        return ()
    if asked == "covariance_whitening" and is_whitening_there:
        _sae_lens().fold_whitening(module, path / WHITENING)
        return ("the whitening of activations, covariance_whitening, was folded into the weights",)
    if asked == "expected_average_only_in" and factor is not None:
        if not 0 < factor < float("inf"):
            raise InputError(f"{path / SCALER}: scaling_factor is {factor}, expected a positive number")
        module.fold_activation_norm_scaling_factor(factor)
        return (f"the scaling of activations by {factor:g}, {asked}, was folded into the weights",)
    raise InputError(unfolded(path, asked))


def _scaling(path: Path) -> tuple[float | None, bool]:
    """Return the factor that activations are scaled by, None if no file says one, and whether there is a whitening."""
    if (path / SCALER).is_file():
        document = read_config(path / SCALER)
        factor = document.get("scaling_factor", "not there")
        if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int | float)):
            raise InputError(
                f"{path / SCALER}: scaling_factor is {str(factor)[:80]!r}, expected a number, as the trainer writes it;"
                f" copy the file again"
            )
        return factor, document.get("has_whitening", True) and (path / WHITENING).exists()
    if (path / OLD_SCALER).is_file():
        state = read_safetensors(path / OLD_SCALER)
        if "estimated_norm_scaling_factor" in state:
            return float(state["estimated_norm_scaling_factor"]), False
    return None, False


def unfolded(name: object, asked: str) -> str:
    """Say that the scaling of activations is missing, and what to do."""
    return (
        f"{name}: normalize_activations is {asked!r}: its weights are for scaled activations, and the scaling is not"
        f" there. Put the trainer's {SCALER} beside {CONFIG} in a folder and give it as --sae-path (for"
        f' {UNFOLDED[0]} it is {{"scaling_factor": sqrt(d_in) / mean norm of the activations}}). If the scaling is'
        f" part of the weights already, write 'none' for normalize_activations in {CONFIG}"
    )
