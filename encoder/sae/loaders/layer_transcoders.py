"""One layer of a set of transcoders, in the layouts of circuit-tracer: relu(W x + b), no bias taken from the input.

    layer_<N>.safetensors                               W_enc [F, D], W_dec [F, D], b_enc [F], b_dec [D]; W_skip [D, D]
    W_enc_<N>.safetensors and W_dec_<N>.safetensors     of a cross-layer transcoder: W_enc_<N> [F, D], b_enc_<N> [F],
                                                        b_dec_<N> [D]; W_dec_<N> [F, layers from N on, D]
    config.yaml, beside them or above                   model_name, feature_input_hook

The features of a layer of a cross-layer transcoder come from that layer alone; only the way back crosses layers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.sae.loaders.loaded import Loaded, build, contents_of, read_safetensors, why

WEIGHTS = "layer_<N>.safetensors or W_enc_<N>.safetensors"
_ONE = re.compile(r"layer_(\d+)\.safetensors")
_CROSS = re.compile(r"W_enc_(\d+)\.safetensors")


def claims(path: Path) -> bool:
    if not path.is_file() or not (_ONE.fullmatch(path.name) or _CROSS.fullmatch(path.name)):
        return False
    return _CROSS.fullmatch(path.name) is not None or {"W_enc", "b_enc"} <= contents_of(path).keys()


def load(path: Path) -> Loaded:
    one, cross = _ONE.fullmatch(path.name), _CROSS.fullmatch(path.name)
    weights = read_safetensors(path)
    if cross:
        layer = cross[1]
        decoder = path.with_name(f"W_dec_{layer}.safetensors")
        if not decoder.is_file():
            raise InputError(f"{path}: needs {decoder.name} beside it, the decoder of the same layer")
        weights = {
            name.removesuffix(f"_{layer}"): tensor for name, tensor in (weights | read_safetensors(decoder)).items()
        }
        if "W_dec" in weights and weights["W_dec"].ndim == 3:
            weights["W_dec"] = weights["W_dec"].sum(dim=1)  # as SAELens does; features do not depend on it
    else:
        layer = one[1] if one else ""
    _check_orientation(weights, path)
    weights["W_enc"] = weights["W_enc"].T
    config = _config(path)
    hook = config.get("feature_input_hook")
    metadata = {"hook_name": f"blocks.{layer}.{hook}" if hook else None, "model_name": config.get("model_name")}
    kind = "skip_transcoder" if "W_skip" in weights else "transcoder"
    settings = {"d_out": weights["W_dec"].shape[-1], "apply_b_dec_to_input": False}
    return Loaded(build(kind, weights, path, metadata, **settings), rebuilds=False)


def _check_orientation(weights: dict[str, Any], path: Path) -> None:
    """Raises: InputError unless W_enc is [F, D] and W_dec is there."""
    encoder, bias = weights.get("W_enc"), weights.get("b_enc")
    if encoder is None or bias is None or "W_dec" not in weights or encoder.ndim != 2:
        found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(weights.items()))
        raise InputError(f"{path}: a layer's transcoder has W_enc in 2 dimensions, W_dec and b_enc; this has {found}")
    if len(bias) != len(encoder):
        raise InputError(
            f"{path}: W_enc has the shape {list(encoder.shape)}, expected [features, inputs] with {len(bias)} features,"
            f" as b_enc has"
        )


def _config(path: Path) -> dict[str, Any]:
    """Return what config.yaml says, of the folder or the folder above; nothing if there is none."""
    import yaml  # huggingface_hub brings it

    for folder in (path.parent, path.parent.parent):
        file = folder / "config.yaml"
        if file.is_file():
            try:
                loaded = yaml.safe_load(file.read_text("utf-8"))
            except (OSError, ValueError, yaml.YAMLError) as exc:
                raise InputError(f"{file}: cannot load this configuration: {why(exc)}") from exc
            return loaded if isinstance(loaded, dict) else {}
    return {}
