"""One layer of a set of transcoders, of a cross-layer transcoder or of a crosscoder with an encoder for each layer.

    circuit-tracer      relu(W x + b)
    layer_<N>.safetensors                               W_enc [F, D], W_dec [F, D], b_enc [F], b_dec [D]; W_skip [D, D]
    W_enc_<N>.safetensors and W_dec_<N>.safetensors     of a cross-layer transcoder: W_enc_<N> [F, D], b_enc_<N> [F],
                                                        b_dec_<N> [D]; W_dec_<N> [F, layers from N on, D]
    config.yaml, beside them or above                   model_name, feature_input_hook

    Gemma Scope 2       JumpReLU; folders clt/... and crosscoder/...
    params_layer_<N>.safetensors                        w_enc [D, F], b_enc [F], threshold [F], b_dec [D],
                                                        w_dec [F, all layers, D]; affine_skip_connection [D, D]
    config.json, beside them, if it is there            architecture, model_name

The features of a layer come from that layer alone, and no bias is taken from the input; only the way back crosses
layers. `all_layers` makes one SAE of all files of a folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.sae.keys import GEMMA_SCOPE_2
from encoder.sae.loaders.loaded import Loaded, build, contents_of, read_config, read_safetensors, why

WEIGHTS = "layer_<N>.safetensors, W_enc_<N>.safetensors or params_layer_<N>.safetensors"
_ONE = re.compile(r"layer_(\d+)\.safetensors")
CROSS = re.compile(r"W_enc_(\d+)\.safetensors")
GEMMA = re.compile(r"params_layer_(\d+)\.safetensors")
_PATTERNS = (_ONE, CROSS, GEMMA)
_REPOSITORY = re.compile(r"gemma-scope-2-(\w+-[pi]t)")


def claims(path: Path) -> bool:
    if not path.is_file() or layer_of(path) is None:
        return False
    return _ONE.fullmatch(path.name) is None or {"W_enc", "b_enc"} <= contents_of(path).keys()


def layer_of(path: Path) -> int | None:
    """Return the layer that a file's name says; None for a file of another name."""
    found = next((found for pattern in _PATTERNS if (found := pattern.fullmatch(path.name))), None)
    return None if found is None else int(found[1])


def load(path: Path) -> Loaded:
    weights = read_layer(path)
    if weights["W_dec"].ndim == 3:
        weights["W_dec"] = weights["W_dec"].float().sum(dim=1)  # as SAELens does; features do not depend on it
    metadata, notes = told_of(path)
    kind = "skip_transcoder" if "W_skip" in weights else "transcoder"
    kind = f"jumprelu_{kind}" if "threshold" in weights else kind
    settings = {"d_out": weights["W_dec"].shape[-1], "apply_b_dec_to_input": False}
    return Loaded(build(kind, weights, path, metadata, **settings), notes, rebuilds=False)


def read_layer(path: Path) -> dict[str, Any]:
    """Return the weights of a layer by SAELens' names; W_dec of one that crosses layers is [F, layers, D].

    Raises: InputError unless W_enc and W_dec are there, as they should lie.
    """
    weights = read_safetensors(path)
    cross = CROSS.fullmatch(path.name)
    if GEMMA.fullmatch(path.name):
        weights = {("W" + name[1:] if name.startswith("w_") else name): tensor for name, tensor in weights.items()}
        if "W_enc" in weights:
            weights["W_enc"] = weights["W_enc"].T
        skip = weights.pop("affine_skip_connection", None)
        weights |= {} if skip is None else {"W_skip": skip.T}
    if cross:
        layer = cross[1]
        decoder = decoder_of(path)
        if not decoder.is_file():
            raise InputError(f"{path}: needs {decoder.name} beside it, the decoder of the same layer")
        weights = {
            name.removesuffix(f"_{layer}"): tensor for name, tensor in (weights | read_safetensors(decoder)).items()
        }
    _check_orientation(weights, path)
    weights["W_enc"] = weights["W_enc"].T
    return weights


def decoder_of(path: Path) -> Path:
    """Return where the decoder of a layer of circuit-tracer's cross-layer transcoders is."""
    return path.with_name(path.name.replace("W_enc_", "W_dec_"))


def told_of(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the hook and the model of a layer, where they are known, and notes. Raises: InputError."""
    layer = layer_of(path)
    if not GEMMA.fullmatch(path.name):
        config = _config(path)
        hook = config.get("feature_input_hook")
        return {"hook_name": f"blocks.{layer}.{hook}" if hook else None, "model_name": config.get("model_name")}, ()
    folder = path.absolute().parent
    beside, notes = folder / "config.json", tuple[str, ...]()
    config = read_config(beside) if beside.is_file() else {}
    notes = GEMMA_SCOPE_2.check(config, beside, is_vouched=True)  # what its multi-layer SAEs say is not known
    repository = _REPOSITORY.search(folder.as_posix())
    model = config.get("model_name") or (repository and f"google/gemma-3-{repository[1]}".replace("270m-pt", "270m"))
    hook = f"model.layers.{layer}.pre_feedforward_layernorm.output" if "clt" in folder.parts else None
    return {"hook_name": hook, "model_name": model}, notes


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
