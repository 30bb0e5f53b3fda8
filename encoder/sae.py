"""An SAE, loaded through SAELens, as the encoder needs it: its preprocessing, its weights and its rule.

Three ways in, all of which end in the same SAELens module with float32 weights:

    --sae-release R --sae-id ID    SAE.from_pretrained: SAELens' registry and its download from Hugging Face
    --sae-path DIR                 SAE.load_from_disk: a folder with cfg.json and sae_weights.safetensors
    --sae-path FILE.npz            a bare GemmaScope params.npz: W_enc, W_dec, b_enc, b_dec, threshold

Shapes: D = d_in, F = d_sae.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import SAE
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

from encoder.errors import InputError

# Architectures whose whole rule is: h = W x + b, then a threshold per feature. BatchTopK and Matryoshka SAEs are saved
# as JumpReLU for inference.
THRESHOLDED = (
    "standard",
    "jumprelu",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Which features are active, in exact arithmetic on h = (x W_enc + b_enc) * scale.

    Without `k`: those with h > threshold. With `k`: of the k largest, those with h > 0; ties go to the lower index.
    W_enc [D, F], b_enc [F], threshold [F] (at least 0) and scale [F] or None, all float32.
    """

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    threshold: torch.Tensor
    scale: torch.Tensor | None = None
    k: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedSae:
    """`rule` is None for an architecture outside the rules; then `module.encode` is used. `identity` goes into every
    output: sae_release, sae_id, sae_path, weights_sha256. `expected_l0` is what it was trained for, where known."""

    module: SAE[Any]
    rule: Rule | None
    identity: dict[str, str | None]
    expected_l0: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def d_in(self) -> int:
        return int(self.module.cfg.d_in)

    @property
    def d_sae(self) -> int:
        return int(self.module.cfg.d_sae)

    @property
    def architecture(self) -> str:
        return str(self.module.cfg.architecture())

    @property
    def hook_name(self) -> str:
        return str(getattr(self.module.cfg.metadata, "hook_name", None) or "")

    @torch.no_grad()
    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        """Apply SAELens' own preprocessing: [T, D] in any float dtype -> [T, D] float32, b_dec and norm applied."""
        if self.module.cfg.reshape_activations == "hook_z":
            # Rows come flat; SAELens wants heads apart just to join them again, so one head does.
            x = x.unsqueeze(-2)
        prepared: torch.Tensor = self.module.process_sae_in(x)
        return prepared


def load_sae(release: str | None, sae_id: str | None, path: Path | None) -> LoadedSae:
    """Load the SAE that the command line names.

    Raises: InputError if it is named in no way or two, does not exist, or is not an SAE.
    """
    if (path is None) == (release is None) or (release is None) != (sae_id is None):
        raise InputError("name the SAE by --sae-release R --sae-id ID, or by --sae-path DIR_OR_NPZ")
    notes: list[str] = []
    expected_l0 = None
    if path is None:
        module, expected_l0 = _from_registry(str(release), str(sae_id))
    elif path.suffix == ".npz" and path.is_file():
        module = _from_params(path)
    elif path.is_dir():
        module = _from_folder(path)
    else:
        raise InputError(f"--sae-path {path}: neither a SAELens folder nor a params.npz")
    module = module.to(torch.float32).eval().requires_grad_(False)
    rule = _rule_of(module)
    if rule is None:
        notes.append(f"{module.cfg.architecture()}: no exact rule for this architecture; sae.encode in float32 is used")
    identity = {
        "sae_release": release,
        "sae_id": sae_id,
        "sae_path": str(path.absolute()) if path else None,
        "weights_sha256": weights_sha256(module),
    }
    return LoadedSae(module, rule, identity, expected_l0, tuple(notes))


def weights_sha256(module: SAE[Any]) -> str:
    """Hash names, shapes and float32 bytes of all weights, in the order of their names: however it was loaded."""
    digest = hashlib.sha256(str(module.cfg.architecture()).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _rule_of(module: SAE[Any]) -> Rule | None:
    architecture = module.cfg.architecture()
    W_enc, b_enc = module.W_enc.data, getattr(module, "b_enc", None)
    if b_enc is None:
        return None
    zero = torch.zeros_like(b_enc.data)
    if architecture in THRESHOLDED and isinstance(module.activation_fn, torch.nn.ReLU):
        threshold = module.threshold.data if hasattr(module, "threshold") else zero
        return Rule(W_enc, b_enc.data, threshold.clamp_min(0))
    if architecture == "topk":
        scale = module.W_dec.data.norm(dim=-1) if module.cfg.rescale_acts_by_decoder_norm else None
        return Rule(W_enc, b_enc.data, zero, scale, int(module.cfg.k))
    return None


def _from_registry(release: str, sae_id: str) -> tuple[SAE[Any], float | None]:
    try:
        module = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    except ValueError as exc:
        raise InputError(f"SAELens knows no {release} {sae_id}: {exc}") from exc
    except OSError as exc:  # Hugging Face's errors: no network, no such repository, no access
        raise InputError(f"{release} {sae_id} could not be downloaded: {str(exc).splitlines()[0]}") from exc
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory().get(release)
    l0 = known.expected_l0.get(sae_id) if known else None
    return module, float(l0) if l0 else None


def _from_folder(path: Path) -> SAE[Any]:
    try:
        return SAE.load_from_disk(path, device="cpu", dtype="float32")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as exc:
        raise InputError(f"--sae-path {path}: SAELens cannot load this folder: {exc}") from exc


PARAMS = {"W_enc": 2, "W_dec": 2, "b_enc": 1, "b_dec": 1, "threshold": 1}


def _from_params(path: Path) -> SAE[Any]:
    """Load a params.npz of https://huggingface.co/google/gemma-scope as a JumpReLU SAE, as SAELens' own loader does."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            arrays = {("W_" + name[2:] if name.startswith("w_") else name): data[name] for name in data}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as exc:
        raise InputError(f"--sae-path {path}: not a readable npz: {exc}") from exc
    missing = [name for name, n_dims in PARAMS.items() if name not in arrays or arrays[name].ndim != n_dims]
    if missing:
        raise InputError(f"--sae-path {path}: not a GemmaScope params.npz: {missing[0]} is missing or misshapen")
    d_in, d_sae = arrays["W_enc"].shape
    shapes = {"W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,), "threshold": (d_sae,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise InputError(f"--sae-path {path}: {name} is {arrays[name].shape}, but W_enc says {shape}")
    config = JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, dtype="float32", device="cpu", apply_b_dec_to_input=False)
    with contextlib.redirect_stdout(io.StringIO()):
        module = JumpReLUSAE(config)
    module.load_state_dict({name: torch.from_numpy(np.asarray(arrays[name], np.float32).copy()) for name in PARAMS})
    return module
