"""What is said of a path that has none of the layouts: what was found there, and what the nearest layout would need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from encoder.sae.loaders.loaded import contents_of

WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".bin")
MAX_FILES, MAX_ARRAYS = 8, 10


@dataclass(frozen=True, slots=True)
class Needs:
    """The files of a layout, and the arrays in the last of them."""

    name: str
    files: tuple[str, ...]
    arrays: tuple[str, ...]


KNOWN = (
    Needs("SAELens", ("cfg.json", "sae_weights.safetensors"), ("W_enc [D, F]", "W_dec", "b_enc", "b_dec")),
    Needs("Gemma Scope", ("params.npz",), ("W_enc [D, F]", "W_dec", "b_enc", "b_dec", "threshold")),
    Needs(
        "Gemma Scope 2",
        ("config.json", "params.safetensors"),
        ("w_enc [D, F]", "w_dec", "b_enc", "b_dec", "threshold"),
    ),
    Needs(
        "sparsify", ("cfg.json", "sae.safetensors"), ("encoder.weight [F, D]", "encoder.bias", "W_dec [F, D]", "b_dec")
    ),
    Needs(
        "dictionary_learning",
        ("config.json", "ae.pt"),
        ("encoder.weight [F, D]", "encoder.bias", "decoder.weight [D, F]", "bias or b_dec"),
    ),
    Needs("Llama Scope", ("hyperparams.json", "checkpoints/final.safetensors"), ("encoder.weight", "decoder.weight")),
    Needs(
        "Language-Model-SAEs",
        ("config.json", "sae_weights.safetensors"),
        ("encoder.weight or W_E", "decoder.weight or W_D", "log_jumprelu_threshold [F]"),
    ),
    Needs("Qwen-Scope", ("layer<N>.sae.pt",), ("W_enc [F, D]", "W_dec [D, F]", "b_enc", "b_dec")),
    Needs("BatchTopK", ("config.json", "sae.pt"), ("W_enc [D, F]", "W_dec [F, D]", "b_enc", "b_dec")),
    Needs(
        "OpenAI",
        ("<name>.pt",),
        ("pre_bias [D]", "latent_bias [F]", "encoder.weight [F, D]", "decoder.weight [D, F]"),
    ),
    Needs(
        "Goodfire",
        ("<name>.pt",),
        ("encoder_linear.weight [F, D]", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias"),
    ),
    Needs("a crosscoder", ("cc_weights.pt",), ("W_enc [L, D, F]", "W_dec [F, L, D]", "b_enc [F]", "b_dec [L, D]")),
    Needs(
        "a cross-layer transcoder of Gemma Scope 2",
        ("params_layer_<N>.safetensors",),
        ("w_enc [D, F]", "w_dec [F, L, D]", "b_enc", "b_dec", "threshold"),
    ),
    Needs(
        "circuit-tracer",
        ("layer_<N>.safetensors",),
        ("W_enc [F, D]", "W_dec [F, D]", "b_enc", "b_dec"),
    ),
)


def describe(path: Path) -> str:
    """Say in one line what is at a path that is no known SAE."""
    if path.is_symlink() and not path.exists():
        return "is a link that leads nowhere"
    if not path.exists():
        return "there is no such file or folder"
    files = _files(path)
    if not files:
        return "is an empty folder"
    arrays = {file: contents_of(file) for file in files if file.suffix in WEIGHTS}
    found = [_described(file, path, arrays.get(file)) for file in files[:MAX_FILES]]
    more = f" and {len(files) - MAX_FILES} more files" if len(files) > MAX_FILES else ""
    needs = _nearest({file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files}, arrays)
    return (
        f"no SAE in a layout that is known. Found: {'; '.join(found)}{more}. Nearest is {needs.name}, which needs"
        f" {' and '.join(needs.files)} with {', '.join(needs.arrays)}. Known besides:"
        f" {', '.join(known.name for known in KNOWN if known is not needs)}"
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for pattern in ("*", "*/*") for file in path.glob(pattern) if file.is_file())


def _described(file: Path, path: Path, arrays: Mapping[str, tuple[int, ...]] | None) -> str:
    name = file.relative_to(path).as_posix() if path.is_dir() else file.name
    if arrays is None:
        return name
    if not arrays:
        return f"{name} (cannot be read as a file of named arrays)"
    shown = [f"{key} {list(shape)}" for key, shape in list(arrays.items())[:MAX_ARRAYS]]
    return f"{name} ({', '.join(shown)}{', ...' if len(arrays) > MAX_ARRAYS else ''})"


def _nearest(names: set[str], arrays: Mapping[Path, Mapping[str, tuple[int, ...]]]) -> Needs:
    """Return the layout that shares most with what is there: names of arrays first, then names of files."""
    have = {name for contents in arrays.values() for name in contents}

    def likeness(needs: Needs) -> tuple[float, int]:
        wanted = [array.split(" ")[0] for array in needs.arrays]
        return sum(name in have for name in wanted) / len(wanted), len(names.intersection(needs.files))

    return max(KNOWN, key=likeness)
