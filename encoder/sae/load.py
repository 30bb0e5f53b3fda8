"""Load an SAE through SAELens.

Three ways in, all of which end in the same SAELens module with float32 weights:

    --sae-release R --sae-id ID    SAE.from_pretrained: SAELens' registry and its download from Hugging Face; R may
                                   also be any repository, OWNER/NAME, and ID a folder in it
    --sae-path DIR                 SAE.load_from_disk: a folder with cfg.json and sae_weights.safetensors
    --sae-path FILE.npz            a bare GemmaScope params.npz: W_enc, W_dec, b_enc, b_dec, threshold
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import json
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the HTTP library that it uses
from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from safetensors import SafetensorError

from encoder.errors import InputError
from encoder.options import Options
from encoder.sae.rules import rule_of
from encoder.sae.sae import LoadedSae

PARAMS = {"W_enc": 2, "W_dec": 2, "b_enc": 1, "b_dec": 1, "threshold": 1}
WITH_CONTEXT = ("temporal",)
"""Architectures whose features of a token depend on the tokens before it: rows of a shard are not enough."""
DAMAGED = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error,
    tokenize.TokenError, SafetensorError,
)  # fmt: skip
"""What SAELens, numpy and safetensors raise over missing, damaged and foreign files."""
ENCODING = ("apply_b_dec_to_input", "k", "normalize_activations", "rescale_acts_by_decoder_norm", "reshape_activations")
"""What a configuration says, beside the weights, of which features are active."""


def load_sae(
    sae_release: str | None = None, sae_id: str | None = None, *, sae_path: str | Path | None = None
) -> LoadedSae:
    """Load an SAE by its SAELens name, or from a folder or file; without arguments the default SAE.

    Raises: InputError if there is no such SAE, or the names contradict each other.
    """
    return load_named(Options().name_sae(sae_release, sae_id, None if sae_path is None else Path(sae_path)))


def load_named(sae: Mapping[str, Any]) -> LoadedSae:
    """Load the SAE of a ticket: {"sae_release", "sae_id", "sae_path"}.

    Raises: InputError if it is named in no way or two, does not exist, or is not an SAE.
    """
    release, sae_id, named_path = (sae.get(key) for key in ("sae_release", "sae_id", "sae_path"))
    path = Path(named_path) if named_path else None
    if (path is None) == (release is None) or (release is None) != (sae_id is None):
        raise InputError("name the SAE by --sae-release R --sae-id ID, or by --sae-path DIR_OR_NPZ")
    expected_l0 = neuronpedia_id = None
    if path is None:
        module, expected_l0, neuronpedia_id = _from_registry(str(release), str(sae_id))
    elif path.suffix == ".npz" and path.is_file():
        module = _from_params(path)
    elif path.is_dir():
        module = _from_folder(path)
        neuronpedia_id = getattr(module.cfg.metadata, "neuronpedia_id", None)
    else:
        raise InputError(f"--sae-path {path}: neither a SAELens folder nor a params.npz")
    name = path or f"{release} {sae_id}"
    module = module.to(torch.float32).eval().requires_grad_(False)
    _check(module, name)
    rule = rule_of(module)
    notes = []
    if rule is None:
        notes.append(f"{module.cfg.architecture()}: no exact rule for this architecture; sae.encode in float64 is used")
    identity = {
        "sae_release": release,
        "sae_id": sae_id,
        "sae_path": str(path.absolute()) if path else None,
        "neuronpedia_id": neuronpedia_id,
        "weights_sha256": weights_sha256(module),
    }
    return LoadedSae(module, rule, identity, expected_l0, tuple(notes))


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
    for weight, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name}: its weights are damaged: {weight} holds NaN or infinity; download them again")


def _from_registry(release: str, sae_id: str) -> tuple[SAE[Any], float | None, str | None]:
    """Return the module, the L0 it was trained for and its Neuronpedia id, where known."""
    directory = get_pretrained_saes_directory()
    if release not in directory and "/" not in release:
        raise InputError(f"--sae-release {release}: SAELens knows no such release; {_closest(release, directory)}")
    if release in directory and sae_id not in directory[release].saes_map:
        near = _closest(sae_id, directory[release].saes_map)
        raise InputError(f"--sae-id {sae_id}: the release {release} has no such SAE; {near}")
    try:
        module = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    except (FileNotFoundError, ConnectionError, HTTPError) as exc:  # no network, no such file or repository, no access
        raise InputError(f"{release} {sae_id} could not be downloaded: {_why(exc)}") from exc
    except DAMAGED as exc:
        raise InputError(f"{release} {sae_id} was downloaded, but SAELens cannot load it: {_why(exc)}") from exc
    known = directory.get(release)
    if known is None:  # a repository of the hub: what its cfg.json says is all there is
        return module, None, getattr(module.cfg.metadata, "neuronpedia_id", None)
    in_path = re.search(r"average_l0_(\d+)", known.saes_map.get(sae_id, ""))
    l0 = known.expected_l0.get(sae_id) or (in_path and float(in_path[1]))
    return module, l0 or None, known.neuronpedia_id.get(sae_id)


def _from_folder(path: Path) -> SAE[Any]:
    try:
        return SAE.load_from_disk(path, device="cpu", dtype="float32")
    except DAMAGED as exc:
        raise InputError(f"--sae-path {path}: SAELens cannot load this folder: {_why(exc)}") from exc


def _from_params(path: Path) -> SAE[Any]:
    """Load a params.npz of https://huggingface.co/google/gemma-scope as a JumpReLU SAE, as SAELens' own loader does."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"--sae-path {path}: not a readable npz: it is no zip file, or was cut off")
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {("W_" + name[2:] if name.startswith("w_") else name): data[name] for name in data}
    except DAMAGED as exc:
        raise InputError(f"--sae-path {path}: not a readable npz: {_why(exc)}") from exc
    for name, n_dims in PARAMS.items():
        if name not in arrays:
            raise InputError(f"--sae-path {path}: not a GemmaScope params.npz: it has no {name}, only {sorted(arrays)}")
        if arrays[name].ndim != n_dims or arrays[name].dtype.kind != "f":
            kind = f"{arrays[name].dtype} {list(arrays[name].shape)}"
            raise InputError(f"--sae-path {path}: {name} is {kind}, expected floats in {n_dims} dimensions")
    if not np.all(arrays.get("scaling_factor", 1) == 1):
        raise InputError(f"--sae-path {path}: has a scaling_factor, which JumpReLU SAEs in SAELens do not know")
    d_in, d_sae = arrays["W_enc"].shape
    shapes = {"W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,), "threshold": (d_sae,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise InputError(
                f"--sae-path {path}: {name} has the shape {list(arrays[name].shape)}, but W_enc says {list(shape)}"
            )
    config = JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, dtype="float32", device="meta", apply_b_dec_to_input=False)
    with contextlib.redirect_stdout(io.StringIO()):
        module = JumpReLUSAE(config)
    module.cfg.device = "cpu"
    weights = {name: torch.from_numpy(np.ascontiguousarray(arrays[name], np.float32)) for name in PARAMS}
    module.load_state_dict(weights, assign=True)
    return module


def _why(exc: BaseException) -> str:
    """Say in one line what another library raised."""
    if isinstance(exc, KeyError) and exc.args:
        return f"it has no {exc.args[0]!r}"
    return " ".join(str(exc).split())[:500] or type(exc).__name__


def _closest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"the closest is {near[0]}; `saefetch list` shows those that Neuronpedia has" if near else "it has none"
