"""What SAELens' own code is needed for. Importing this module imports SAELens, in seconds.

training checkpoints       converted by the trainer's own last step
whitening of activations   folded into the weights by SAELens' own code
architectures that `encoder.sae.plain` does not know, and configurations that SAELens refuses, in its words
a module of SAELens        for who asks a loaded SAE for it
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE, TrainingSAE
from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting
from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY, get_sae_class, get_sae_training_class

from encoder.sae.loaders.loaded import read_safetensors
from encoder.sae.plain import Config


def instance(kind: Any, config_class: Any, config: Mapping[str, Any], weights: dict[str, torch.Tensor]) -> SAE[Any]:
    """Make an SAE of one of SAELens' classes, as its own loaders do: nothing is allocated but the weights that are
    given.

    Weights of an inference SAE become float32; a training SAE keeps the dtypes of the trainer.
    """
    cfg = config_class.from_dict({**config, "device": "meta"})
    is_training = issubclass(kind, TrainingSAE)
    if not is_training:
        cfg.dtype = "float32"
    with contextlib.redirect_stdout(io.StringIO()):
        module: SAE[Any] = kind(cfg)
    module.cfg.device, module.device = "cpu", torch.device("cpu")
    module.process_state_dict_for_loading(weights)
    if not is_training:
        weights = {name: tensor.float() for name, tensor in weights.items()}
    module.load_state_dict(weights, assign=True)
    return module


def module_of(config: Config, weights: dict[str, torch.Tensor]) -> SAE[Any]:
    """Return SAELens' module for inference of these weights, which it shares."""
    kind, config_class = get_sae_class(config.kind)
    module = instance(kind, config_class, {**asdict(config), "architecture": config.kind}, dict(weights))
    device = next(iter(weights.values())).device
    module.cfg.device, module.device = str(device), device
    return module.eval().requires_grad_(False)


def knows(architecture: object) -> bool:
    return architecture in {**SAE_CLASS_REGISTRY, **SAE_TRAINING_CLASS_REGISTRY}


def is_for_inference(architecture: str) -> bool:
    return architecture in SAE_CLASS_REGISTRY


def defaulted(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of any age in the form of SAELens 6."""
    config: dict[str, Any] = handle_config_defaulting(dict(raw))
    return config


def inference_module(config: Mapping[str, Any], weights: dict[str, torch.Tensor]) -> SAE[Any]:
    kind, config_class = SAE_CLASS_REGISTRY[config["architecture"]]
    return instance(kind, config_class, config, weights)


def training_module(config: Mapping[str, Any], weights: dict[str, torch.Tensor]) -> SAE[Any]:
    kind, config_class = get_sae_training_class(config["architecture"])
    return instance(kind, config_class, config, weights)


def converted(training: Any, metadata: Mapping[str, Any]) -> SAE[Any]:
    """Return the SAE for inference that training ends with."""
    state = training.state_dict()
    training.process_state_dict_for_saving_inference(state)
    inference = training.cfg.get_inference_sae_cfg_dict()
    return inference_module({**inference, "metadata": metadata}, state)


def fold_whitening(module: Any, path: Path) -> None:
    """Fold the whitening of activations that is in a file of SAELens into the weights."""
    parts = read_safetensors(path)
    module.fold_activation_whitening(parts["mean"], parts["matrix"], parts["inverse_matrix"])
