"""Makers of activation files: one per format of ACTIVATION_FORMATS.md, each as its producer writes it.

numpy, safetensors, torch and datasets write their own. The stores of research code are written after the producers'
sources: science-of-finetuning/crosscoder_learning (cache.py: save_shard, collect), adamkarvonen/SAEBench (sae-bench
0.6.0, save_activations), OpenMOSS/Language-Model-SAEs (llamascopium 2.0.0b34, ActivationWriter), activault of
tilde-research (HookUploader), OSU-NLP-Group/saev (ShardWriter of 0.1.0 and of protocol 2.1) and ewernn/trait-interp
(inference/capture_activations.py).
"""

from __future__ import annotations

import base64
import json
import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from encoder.readers import DataFile
from encoder.shard import Shard

UUID = "0b9d3f5a-6b0e-4a9c-8d3e-0a1b2c3d4e5f"


@dataclass
class Made:
    """What was written, and what a reader has to find in it."""

    path: Path
    rows: torch.Tensor
    token_ids: list[int] | None = None
    row_document: list[int] | None = None
    row_position: list[int] | None = None
    row_mask: list[bool] | None = None
    texts: list[str] | None = None
    sections: dict[str, tuple[int, int]] = field(default_factory=dict)
    hook_name: str = ""
    select: dict[str, str] = field(default_factory=dict)


def open_one(
    path: Path,
    d_in: int | None = None,
    select: dict[str, str] | None = None,
    *,
    root: Path | None = None,
    hook_name: str = "",
    model_name: str = "",
) -> Shard:
    return DataFile(path, select or {}, root).shard_for(d_in, hook_name, model_name)


def whole(shard: Shard) -> torch.Tensor:
    return shard.read(0, shard.n_rows)


def listed(array: np.ndarray[Any, Any] | None) -> list[Any] | None:
    return None if array is None else array.tolist()


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(torch.uint8), b.contiguous().view(torch.uint8))
    )


def random(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def flat(acts: torch.Tensor) -> torch.Tensor:
    return acts.reshape(-1, acts.shape[-1]).to(torch.float32 if acts.dtype == torch.float64 else acts.dtype)


def contexts(shape: tuple[int, ...]) -> dict[str, list[int]]:
    """The documents and positions that [b, s, d] implies."""
    b, s = math.prod(shape[:-2]), shape[-2]
    return {"row_document": [i for i in range(b) for _ in range(s)], "row_position": list(range(s)) * b}


def ids_like(acts: torch.Tensor, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    n = math.prod(acts.shape[:-1])
    return torch.arange(7, 7 + n).to(dtype).reshape(acts.shape[:-1])


def npy(folder: Path, acts: torch.Tensor) -> Made:
    """Bytes for bytes what np.save writes, of an array of ml_dtypes.bfloat16 too, whose dtype string is '<V2'."""
    path = folder / "acts.npy"
    if acts.dtype == torch.bfloat16:
        header = NPY.format("<V2", False, tuple(acts.shape)).rstrip("\n")
        padded = header.ljust(-(10 + len(header) + 1) % 64 + len(header)) + "\n"
        path.write_bytes(npy_bytes(padded, acts.contiguous().view(torch.int16).numpy().tobytes()))
    else:
        np.save(path, acts.numpy())
    return Made(path, flat(acts), **contexts(tuple(acts.shape)))


def npy_fortran(folder: Path, acts: torch.Tensor) -> Made:
    path = folder / "fortran.npy"
    as_bits = acts.dtype == torch.bfloat16
    plain = acts.contiguous().view(torch.int16).numpy().view("V2") if as_bits else acts.numpy()
    np.save(path, np.asfortranarray(plain))
    return Made(path, flat(acts), **contexts(tuple(acts.shape)))


def npy_bits(folder: Path, acts: torch.Tensor) -> Made:
    path = folder / "bits.npy"
    np.save(path, acts.to(torch.bfloat16).contiguous().view(torch.int16).numpy().view(np.uint16))
    rows = flat(acts.to(torch.bfloat16))
    return Made(path, rows, **contexts(tuple(acts.shape)), select={"dtype": "bfloat16"})


def npz(folder: Path, acts: torch.Tensor, *, save: Callable[..., None] = np.savez) -> Made:
    path = folder / "acts.npz"
    as_bits = acts.dtype == torch.bfloat16
    plain = acts.contiguous().view(torch.int16).numpy().view("V2") if as_bits else acts.numpy()
    ids, mask = ids_like(acts, torch.int32), ids_like(acts) % 3 > 0
    others = {"other": np.zeros((3, acts.shape[-1]), np.int64), "names": np.array(["a", "b"], dtype=object)}
    save(path, **others, layer_16=plain, input_ids=ids.numpy(), attention_mask=mask.numpy())
    return Made(
        path,
        flat(acts),
        token_ids=ids.flatten().tolist(),
        row_mask=mask.flatten().tolist(),
        **contexts(tuple(acts.shape)),
        hook_name="layer_16",
    )


def npz_compressed(folder: Path, acts: torch.Tensor) -> Made:
    return npz(folder, acts, save=np.savez_compressed)


def safetensors(folder: Path, acts: torch.Tensor) -> Made:
    path = folder / "acts.safetensors"
    others = {"bias": torch.zeros(acts.shape[-1]), "other": torch.zeros(3, acts.shape[-1] + 1)}
    save_file({"resid": acts.contiguous(), **others}, path, metadata={"format": "pt"})
    return Made(path, flat(acts), **contexts(tuple(acts.shape)), hook_name="resid")


def torch_tensor(folder: Path, acts: torch.Tensor) -> Made:
    path = folder / "acts.pt"
    torch.save(acts, path)
    return Made(path, flat(acts), **contexts(tuple(acts.shape)))


def torch_transposed(folder: Path, acts: torch.Tensor) -> Made:
    """A view with other strides and an offset, as torch.save keeps it."""
    path = folder / "transposed.pt"
    larger = torch.cat([acts.new_full((*acts.shape[:-1], 1), 9), acts], dim=-1)
    turned = larger.transpose(0, -1).contiguous().transpose(0, -1)[..., 1:]
    torch.save({"hook": turned}, path)
    return Made(path, flat(acts), **contexts(tuple(acts.shape)), hook_name="hook")


def torch_mapping(folder: Path, acts: torch.Tensor) -> Made:
    """{hook_name: [b, s, d]}, two hooks of the same width."""
    path = folder / "cache.pth"
    torch.save({"blocks.3.hook_resid_post": acts, "blocks.4.hook_resid_post": acts + 1}, path)
    select = {"key": "blocks.3.hook_resid_post"}
    return Made(path, flat(acts), **contexts(tuple(acts.shape)), hook_name=select["key"], select=select)


def hook_z(folder: Path, acts: torch.Tensor) -> Made:
    path = folder / "z.pt"
    heads = torch.stack([acts, acts + 1], dim=-2)
    torch.save({"blocks.0.attn.hook_z": heads}, path)
    rows = torch.cat([flat(acts), flat(acts + 1)], dim=-1)
    return Made(path, rows, **contexts(tuple(acts.shape)), hook_name="blocks.0.attn.hook_z")


def capture(folder: Path, acts: torch.Tensor, *, prompt_rows: bool = True) -> Made:
    """A prompt capture; documents other than the first are the response.

    Both are views into a batch of two, padded on the left, which the file holds whole, as the producer's `.cpu()` does.
    """
    path = folder / f"capture_{prompt_rows}.pt"
    n, d = acts.shape[1], acts.shape[2]
    batch = torch.full((2, 3 + acts.shape[0] * n, d), 9.0).to(acts.dtype)
    batch[1, 3:] = acts.reshape(-1, d)
    views = {"residual": batch, "mlp_contribution": batch + 1}

    def section(first: int, stop: int, kept: bool, attention: object) -> dict[str, object]:
        texts = [f" t{i}" for i in range(first, stop)]
        rows = {name: whole[1, 3 + first : 3 + stop, :].cpu() for name, whole in views.items()}
        by_layer = dict.fromkeys((8, 16), rows) if kept else {}
        ids = list(range(first, stop))
        return {
            "text": "".join(texts), "tokens": texts, "token_ids": ids, "activations": by_layer, "attention": attention
        }  # fmt: skip

    prompt, response = acts[0], acts[1:].reshape(-1, d)
    last = acts.shape[0] * n
    torch.save({"prompt": section(0, n, prompt_rows, {}), "response": section(n, last, True, [])}, path)
    rows = torch.cat([prompt, response]) if prompt_rows else response
    positions = list(range(0 if prompt_rows else n, n + len(response)))
    both = {"prompt": (0, n), "response": (n, n + len(response))}
    sections = both if prompt_rows else {"response": (0, len(response))}
    return Made(
        path, flat(rows), token_ids=positions, texts=[f" t{i}" for i in positions], row_position=positions,
        row_document=[0] * len(positions), sections=sections, hook_name="layer=16,component=residual",
        select={"layer": "16", "component": "residual"},
    )  # fmt: skip


def capture_response_only(folder: Path, acts: torch.Tensor) -> Made:
    return capture(folder, acts, prompt_rows=False)


def arrow(folder: Path, acts: torch.Tensor) -> Made:
    """What SAELens' CacheActivationsRunner._create_shard and save_to_disk do, in one file of several record batches."""
    from datasets import Array2D, Dataset, Features, Sequence, Value, disable_progress_bars

    disable_progress_bars()

    acts = acts.reshape(-1, *acts.shape[-2:])
    dtype = {torch.bfloat16: "float32"}.get(acts.dtype, str(acts.dtype).removeprefix("torch."))
    acts = acts.to(getattr(torch, dtype))
    ctx, d = acts.shape[1:]
    ids = ids_like(acts, torch.int32)
    features = Features({"blocks.0.hook": Array2D((ctx, d), dtype), "token_ids": Sequence(Value("int32"), length=ctx)})
    dataset = Dataset.from_dict({"blocks.0.hook": acts, "token_ids": ids}, features=features)
    dataset.save_to_disk(folder / "dataset", num_shards=1)
    path = folder / "dataset" / "data-00000-of-00001.arrow"
    return Made(path, flat(acts), ids.flatten().tolist(), **contexts(tuple(acts.shape)), hook_name="blocks.0.hook")


def prompt_list(folder: Path, acts: torch.Tensor) -> Made:
    """What a loop over prompts leaves: tensors of differing length; the first document is cut in two."""
    path = folder / "prompts.pt"
    acts = acts.reshape(-1, *acts.shape[-2:])
    lengths = [1, acts.shape[1] - 1, *[acts.shape[1]] * (acts.shape[0] - 1)]
    torch.save([part.clone() for part in acts.reshape(-1, acts.shape[-1]).split(lengths)], path)
    document = [i for i, n in enumerate(lengths) for _ in range(n)]
    return Made(path, flat(acts), row_document=document, row_position=[i for n in lengths for i in range(n)])


def memmap(folder: Path, acts: torch.Tensor) -> Made:
    """A store of two shards, of which the second is the one to read; documents as sequence_ranges.pt says."""
    store = folder / "store"
    shards = store / "model.layers.3_out"
    shards.mkdir(parents=True)
    rows = acts.reshape(-1, acts.shape[-1])
    before = torch.full((5, rows.shape[1]), 3).to(rows.dtype)
    for i, part in enumerate((before, rows)):
        bits = part.contiguous().view(torch.int16) if part.dtype == torch.bfloat16 else part
        stored = np.memmap(shards / f"shard_{i}.memmap", dtype=bits.numpy().dtype, mode="w+", shape=tuple(part.shape))
        stored[:] = bits.numpy()
        stored.flush()
        (shards / f"shard_{i}.meta").write_text(json.dumps({"shape": list(part.shape), "dtype": str(part.dtype)}))
    n = 5 + len(rows)
    config = {"total_size": n, "shard_count": 1, "shuffle_shards": False, "store_tokens": True}
    config |= {"store_sequence_ranges": True, "d_model": rows.shape[1], "io": "out"}
    (shards / "config.json").write_text(json.dumps(config))
    torch.save(torch.zeros(rows.shape[1]), shards / "mean.pt")
    torch.save(torch.arange(n), store / "tokens.pt")
    cut = 5 + min(2, len(rows))
    torch.save(torch.tensor([0, 5, cut, n]), store / "sequence_ranges.pt")
    document = [0] * (cut - 5) + [1] * (n - cut)
    position = [*range(cut - 5), *range(n - cut)]
    return Made(
        shards / "shard_1.memmap", flat(rows), list(range(5, n)), document, position, hook_name="model.layers.3_out"
    )


def sae_bench(folder: Path, acts: torch.Tensor) -> Made:
    path = folder / "activations_2_of_3.pt"
    ids = ids_like(acts)
    torch.save({"activations": acts, "tokens": ids}, path)
    return Made(path, flat(acts), ids.flatten().tolist(), **contexts(tuple(acts.shape)))


def language_model_saes(folder: Path, acts: torch.Tensor, *, suffix: str = "safetensors") -> Made:
    hook = folder / "blocks.5.hook_resid_post"
    hook.mkdir(exist_ok=True)
    path = hook / f"shard-1-chunk-00000012.{suffix}"
    ids = ids_like(acts)
    mask = ids % 3 != 0
    chunk = {"activation": acts.contiguous(), "tokens": ids, "mask": mask, "attention_mask": torch.ones_like(ids)}
    if suffix == "pt":
        torch.save({**chunk, "meta": [{"text": "x"}]}, path)
    else:
        save_file(chunk, path)
        path.with_suffix(".meta.json").write_text(json.dumps([{"text": "x"}]))
    return Made(
        path, flat(acts), ids.flatten().tolist(), **contexts(tuple(acts.shape)), row_mask=mask.flatten().tolist(),
        hook_name=hook.name,
    )  # fmt: skip


def language_model_saes_pt(folder: Path, acts: torch.Tensor) -> Made:
    return language_model_saes(folder, acts, suffix="pt")


def activault(folder: Path, acts: torch.Tensor) -> Made:
    hook = folder / "run" / "models.layers.7.mlp.post"
    hook.mkdir(parents=True)
    acts = acts.reshape(-1, *acts.shape[-2:])
    ids = ids_like(acts)
    n_bytes = acts.numel() * acts.element_size() + ids.numel() * 8
    path = hook / f"{UUID}--3_0.saved.pt"
    torch.save({"states": acts, "input_ids": ids, "tensor_bytes": n_bytes}, path)
    metadata = {"batch_size": acts.shape[0], "sequence_length": acts.shape[1], "dtype": str(acts.dtype)}
    metadata |= {"d_in": acts.shape[2], "batches_per_file": 2, "shape": list(acts.shape)}
    (hook / "metadata.json").write_text(json.dumps(metadata | {"input_ids_shape": list(ids.shape)}))
    (hook / "statistics.json").write_text("{}")
    return Made(path, flat(acts), ids.flatten().tolist(), **contexts(tuple(acts.shape)), hook_name=hook.name)


def saev(folder: Path, acts: torch.Tensor, *, cut: bool = False) -> Made:
    """Two layers, of which 23 is the one to read; the file goes on to the size of a full shard unless it is cut."""
    shards = folder / "0a1b2c3d"
    shards.mkdir()
    acts = acts.reshape(-1, *acts.shape[-2:]).to(torch.float32)
    n, n_tokens, d = acts.shape
    metadata = {
        "family": "clip", "ckpt": "ViT-B-16/openai", "layers": [13, 23], "content_tokens_per_example": n_tokens - 1,
        "cls_token": True, "d_model": d, "n_examples": n, "max_tokens_per_shard": (n + 2) * 2 * n_tokens,
        "data": base64.b64encode(pickle.dumps(print)).decode(), "dataset": "/data", "dtype": "float32",
        "protocol": "2.1",
    }  # fmt: skip
    (shards / "metadata.json").write_text(json.dumps(metadata))
    (shards / "shards.json").write_text(json.dumps([{"name": "acts000000.bin", "n_examples": n}]))
    (shards / "labels.bin").write_bytes(b"\0")
    path = shards / "acts000000.bin"
    full = np.zeros((n if cut else n + 2, 2, n_tokens, d), np.float32)
    full[:n, 0], full[:n, 1] = acts + 1, acts
    full.tofile(path)
    return Made(path, flat(acts), **contexts(tuple(acts.shape)), hook_name="layer=23", select={"layer": "23"})


def saev_cut(folder: Path, acts: torch.Tensor) -> Made:
    return saev(folder, acts, cut=True)


MAKERS: tuple[Callable[[Path, torch.Tensor], Made], ...] = (
    npy, npy_fortran, npy_bits, npz, npz_compressed, safetensors, torch_tensor, torch_transposed, torch_mapping, hook_z,
    prompt_list, capture, capture_response_only, arrow, memmap, sae_bench, language_model_saes, language_model_saes_pt,
    activault, saev, saev_cut,
)  # fmt: skip


def npy_bytes(header: str, data: bytes = b"", *, n_header: int | None = None, major: int = 1) -> bytes:
    text = header.encode()
    length = struct.pack("<H" if major == 1 else "<I", len(text) if n_header is None else n_header)
    return b"\x93NUMPY" + bytes([major, 0]) + length + text + data


NPY = "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}, }}\n"


def safetensors_bytes(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin: object, end: object, shape: object = (2, 4), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
