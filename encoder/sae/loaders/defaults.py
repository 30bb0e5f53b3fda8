"""A cfg.json of SAELens in the form of SAELens 6: what `handle_config_defaulting` makes of it, without SAELens.

Before SAELens 6 the keys had other names, defaults were not written, and what belongs under `metadata` stood beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encoder.sae.plain import is_plain

_RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
_METADATA = {
    "model_name", "hook_name", "model_class_name", "hook_head_index", "model_from_pretrained_kwargs", "prepend_bos",
    "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice", "dataset_path", "sae_lens_version",
    "sae_lens_training_version", "hook_name_out", "hook_head_index_out", "hf_hook_name", "hf_hook_name_out",
}  # fmt: skip
_SETTINGS = {
    "d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations", "reshape_activations",
}  # fmt: skip
_OF_ARCHITECTURE = {
    "topk": {"k", "rescale_acts_by_decoder_norm"},
    "abstopk": {"k", "rescale_acts_by_decoder_norm"},
    "transcoder": {"d_out"},
    "skip_transcoder": {"d_out"},
    "jumprelu_transcoder": {"d_out"},
    "jumprelu_skip_transcoder": {"d_out"},
}


def defaulted(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the configuration in the form of SAELens 6; None where SAELens itself has to say."""
    if not _is_before_6(raw):
        return dict(raw) if is_plain(raw.get("architecture")) else None
    config = {_RENAMED.get(key, key): value for key, value in raw.items()}
    architecture = config.setdefault("architecture", "standard")
    kwargs = config.get("activation_fn_kwargs", {})
    hook_name = config.get("hook_name", "")
    if not isinstance(kwargs, dict) or not isinstance(hook_name, str):
        return None
    if config.get("activation_fn") == "topk" and kwargs.get("k") is not None:
        architecture, config["k"] = "topk", kwargs["k"]
    if not is_plain(architecture):
        return None
    config.setdefault("apply_b_dec_to_input", True)
    config.setdefault("prepend_bos", True)
    config.setdefault("device", "cpu")
    config.setdefault("reshape_activations", "hook_z" if "hook_z" in hook_name else "none")
    norm = config.get("normalize_activations")
    if norm is None or norm is False:
        config["normalize_activations"] = "none"
    elif norm is True:
        config["normalize_activations"] = "expected_average_only_in"
    if architecture == "topk" and "activation_fn_kwargs" in config:
        if "k" not in kwargs:
            return None
        config["k"] = kwargs["k"]
    settings = _SETTINGS | _OF_ARCHITECTURE.get(architecture, set())
    metadata = {key: config.get(key) for key in ("sae_lens_training_version", "neuronpedia_id")}
    metadata |= {key: value for key, value in config.items() if key in _METADATA}
    return {
        **{key: value for key, value in config.items() if key in settings},
        "architecture": architecture,
        "metadata": metadata,
    }


def _is_before_6(raw: Mapping[str, Any]) -> bool:
    """Say whether an SAELens before 6 wrote this; as SAELens does, a file without a version is taken for that old."""
    version = raw.get("sae_lens_version")
    if not version and "metadata" in raw:
        version = raw["metadata"].get("sae_lens_version")
    if not version:
        return True
    from packaging.version import Version

    return Version(version) < Version("6.0.0-rc.0")
