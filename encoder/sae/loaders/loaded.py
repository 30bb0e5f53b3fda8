"""What every layout is made into: an inference SAE with float32 weights, and what is known besides."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from encoder.errors import InputError, ShardError
from encoder.readers import safetensors_header
from encoder.sae.plain import Plain, config_of, shapes_of

if TYPE_CHECKING:
    from sae_lens import SAE

DAMAGED = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error,
    tokenize.TokenError, SafetensorError,
)  # fmt: skip
"""What SAELens, numpy, torch and safetensors raise over missing, damaged and foreign files."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An SAE, sentences for the user, and what the configuration tells of the activations it was trained on.

    `module` is a `Plain`, or a module of SAELens where the architecture is not one of `encoder.sae.plain`.
    `rebuilds` is False where the SAE's output is something else than its input, whatever its architecture.
    """

    module: Plain | SAE[Any]
    notes: tuple[str, ...] = ()
    trained_on: dict[str, Any] = field(default_factory=dict)
    neuronpedia_id: str | None = None
    rebuilds: bool = True


def build(
    architecture: str, weights: dict[str, torch.Tensor], path: Path, metadata: Mapping[str, Any], **settings: Any
) -> Plain:
    """Make an inference SAE from weights that have SAELens' names: W_enc [D, F] and the others.

    Raises: InputError that names the weight that is missing, of no use, or of another shape.
    """
    if "W_enc" not in weights or weights["W_enc"].ndim != 2:
        raise InputError(f"{path}: has no encoder matrix W_enc in two dimensions, only {_listed(weights)}")
    d_in, d_sae = weights["W_enc"].shape
    known = {"architecture": architecture, "d_in": d_in, "d_sae": d_sae, "metadata": dict(metadata), **settings}
    config = config_of(known)
    if config is None:
        raise InputError(f"{path}: W_enc has the shape {list(weights['W_enc'].shape)}; no {architecture} SAE has that")
    expected = shapes_of(config)
    for name, shape in expected.items():
        if name not in weights:
            raise InputError(f"{path}: has no {name}, only {_listed(weights)}")
        kind_is = f"{str(weights[name].dtype).removeprefix('torch.')} {list(weights[name].shape)}"
        if weights[name].ndim != len(shape) or not weights[name].is_floating_point():
            raise InputError(f"{path}: {name} is {kind_is}, expected floats in {len(shape)} dimensions")
        if weights[name].shape != shape:
            raise InputError(f"{path}: {name} has the shape {list(weights[name].shape)}, but W_enc says {list(shape)}")
    if extra := sorted(set(weights) - set(expected)):
        raise InputError(f"{path}: has {', '.join(extra)}, which a {architecture} SAE does not have")
    return Plain(config, weights)


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Raises: InputError."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except DAMAGED as exc:
        raise InputError(f"{path}: not a readable safetensors file: {why(exc)}") from exc


def read_torch(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without executing anything of it. Raises: InputError."""
    loaded = read_pickled(path)
    if not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise InputError(f"{path}: expected a state dict, names -> tensors; {_odd(loaded)}")
    return loaded


def read_pickled(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read a file of torch that holds a dict with names, without executing anything of it. Raises: InputError."""
    import pickle

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (*DAMAGED, pickle.UnpicklingError) as exc:
        raise InputError(f"{path}: not a readable file of tensors: {why(exc)}") from exc
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise InputError(f"{path}: expected a state dict, names -> tensors, got {type(loaded).__name__}")
    return loaded


def _odd(loaded: Mapping[str, Any]) -> str:
    name, value = next((name, value) for name, value in loaded.items() if not isinstance(value, torch.Tensor))
    return f"{name!r} is a {type(value).__name__}"


def contents_of(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of each array in a file of weights, by name: {} for a file that is none, or cannot be read.

    What a file has on its outermost level counts; a name that is no array has the shape (). Each layout asks this of a
    file in turn, and a file that is the same as before is not read again.
    """
    try:
        status = path.stat()
    except OSError:
        return {}
    return _contents_of(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _contents_of(path: Path, *stamp: int) -> Mapping[str, tuple[int, ...]]:
    try:
        if path.suffix == ".safetensors":
            header = safetensors_header.load(path, path.stat().st_size)
            return {name: tuple(array.shape) for name, array in header.items()}
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {member.removesuffix(".npy"): _npy_shape(archive, member) for member in archive.namelist()}
        if path.suffix in (".pt", ".pth", ".bin") and path.is_file():
            loaded = read_pickled(path, mmap=zipfile.is_zipfile(path))
            return {name: tuple(value.shape) if hasattr(value, "shape") else () for name, value in loaded.items()}
    except (*DAMAGED, InputError, ShardError):
        pass
    return {}


def _npy_shape(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    with archive.open(member) as file:
        is_first = np.lib.format.read_magic(file) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = header(file)[0]
        return shape


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises: InputError."""
    import json

    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError(f"{path}: cannot load this configuration: {why(exc)}") from exc
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: cannot load this configuration: expected a JSON object, got {type(loaded).__name__}")
    return loaded


def whole_number(value: Any, what: str, path: Path, most: int) -> int:
    """Raises: InputError unless the value is a whole number from 1 to `most`."""
    if type(value) is not int or not 1 <= value <= most:
        raise InputError(f"{path}: {what} is {value!r}, expected a whole number from 1 to {most:,}")
    return value


def why(exc: BaseException) -> str:
    """Say in one line what another library raised."""
    if isinstance(exc, KeyError) and exc.args:
        return f"it has no {exc.args[0]!r}"
    return " ".join(str(exc).split())[:500] or type(exc).__name__


def _listed(weights: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(weights.items())[:20]) or "nothing"
