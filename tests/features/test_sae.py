"""Every architecture, saved by SAELens and loaded by us: its features are those of SAELens' own encode in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, D_SAE, dense, make_module, save, truth
from sae_lens import SAE

from encoder.file.csr import Csr
from encoder.kernels import make_kernel
from encoder.sae.sae import LoadedSae

CPU = torch.device("cpu")
RULED: dict[str, dict[str, Any]] = {
    "standard": {"architecture": "standard"},
    "standard, b_dec not applied": {"architecture": "standard", "apply_b_dec_to_input": False},
    "standard, layer norm": {"architecture": "standard", "normalize_activations": "layer_norm"},
    "jumprelu": {"architecture": "jumprelu"},
    "jumprelu, b_dec not applied": {"architecture": "jumprelu", "apply_b_dec_to_input": False},
    "jumprelu, constant norm": {"architecture": "jumprelu", "normalize_activations": "constant_norm_rescale"},
    "jumprelu, hook_z": {"architecture": "jumprelu", "reshape_activations": "hook_z"},
    "jumprelu, hook_z, layer norm": {
        "architecture": "jumprelu",
        "reshape_activations": "hook_z",
        "normalize_activations": "layer_norm",
    },
    "topk": {"architecture": "topk", "k": 5},
    "topk, rescaled": {"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True},
    "topk, rescaled, constant norm": {
        "architecture": "topk",
        "k": 3,
        "rescale_acts_by_decoder_norm": True,
        "normalize_activations": "constant_norm_rescale",
    },
    "topk of all": {"architecture": "topk", "k": D_SAE},
    "transcoder": {"architecture": "transcoder", "d_out": 9, "apply_b_dec_to_input": False},
    "skip_transcoder": {"architecture": "skip_transcoder", "d_out": D_IN, "apply_b_dec_to_input": False},
    "jumprelu_transcoder": {"architecture": "jumprelu_transcoder", "d_out": 9, "apply_b_dec_to_input": False},
    "jumprelu_skip_transcoder": {
        "architecture": "jumprelu_skip_transcoder",
        "d_out": D_IN,
        "apply_b_dec_to_input": False,
    },
    "trained standard": {"architecture": "standard", "training": True},
    "trained jumprelu": {"architecture": "jumprelu", "training": True},
    "trained topk": {"architecture": "topk", "training": True, "k": 4},
    "trained topk, not rescaled": {
        "architecture": "topk",
        "training": True,
        "k": 4,
        "rescale_acts_by_decoder_norm": False,
    },
    "trained batchtopk": {"architecture": "batchtopk", "training": True, "k": 4},
    "trained matryoshka": {
        "architecture": "matryoshka_batchtopk",
        "training": True,
        "k": 4,
        "matryoshka_widths": [16, 32, D_SAE],
    },
}
FALLBACK: dict[str, dict[str, Any]] = {
    "gated": {"architecture": "gated"},
    "gated, hook_z": {"architecture": "gated", "reshape_activations": "hook_z"},
    "gated, constant norm": {"architecture": "gated", "normalize_activations": "constant_norm_rescale"},
    "abstopk": {"architecture": "abstopk", "k": 5},
    "matching_pursuit": {"architecture": "matching_pursuit"},
    "trained gated": {"architecture": "gated", "training": True},
}
ALL = RULED | FALLBACK
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def loaded(name: str, folder: Path) -> LoadedSae:
    return encoding.load(save(make_module(**ALL[name]), folder / "sae"))


def rows(n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(n, D_IN, generator=torch.Generator().manual_seed(5)) * 2
    return x.to(dtype)


def assert_is(features: Csr, expected: torch.Tensor) -> None:
    """The same support, and each value the float64 one rounded, or next to it where the order of sums differs."""
    found = dense(features)
    np.testing.assert_array_equal(found != 0, (expected != 0).numpy())
    np.testing.assert_array_max_ulp(found, expected.float().numpy(), maxulp=1)


@pytest.mark.parametrize("name", ALL)
def test_features_are_those_of_saelens_in_float64_whatever_the_batch_size(name: str, tmp_path: Path) -> None:
    sae = loaded(name, tmp_path)
    assert (sae.rule is None) == (name in FALLBACK) == any("no exact rule" in note for note in sae.notes)
    backends = ["auto"] if sae.rule is None else ["auto", "reference"]
    x = rows(60, torch.bfloat16)
    expected = truth(sae, x)
    assert expected.count_nonzero() > 0 and (name == "topk of all" or expected.count_nonzero() < expected.numel())
    for backend in backends:
        kernel = make_kernel(sae, CPU, backend)
        whole = kernel.encode(x)
        assert_is(whole, expected)
        for size in (1, 7):
            parts = Csr.concatenate([kernel.encode(x[i : i + size]) for i in range(0, len(x), size)], D_SAE)
            for array in ("indptr", "indices", "data"):
                np.testing.assert_array_equal(getattr(parts, array), getattr(whole, array))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["jumprelu", "standard", "topk, rescaled", "gated"])
def test_weights_stay_float32_whatever_the_activations_are(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    sae = loaded(name, tmp_path)
    x = rows(20, dtype)
    features = make_kernel(sae, CPU, "auto").encode(x)
    assert_is(features, truth(sae, x.float()))
    assert {weight.dtype for weight in sae.module.state_dict().values()} == {torch.float32}
    assert features.data.dtype == np.float32


def test_a_threshold_is_never_rounded(tmp_path: Path) -> None:
    """1 + 2^-20 is 1 in bfloat16: rows of h = 1 must stay off, those a little above must be on."""
    weights = encoding.dictionary(2, 2)
    weights |= {"W_enc": torch.eye(2), "W_dec": torch.eye(2), "threshold": torch.full((2,), 1 + 2.0**-20)}
    sae = encoding.load(encoding.save_params(tmp_path / "params.npz", weights))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0078125, 1.0]], dtype=torch.bfloat16)
    for backend in ("auto", "reference"):
        features = make_kernel(sae, CPU, backend).encode(x)
        assert features.indptr.tolist() == [0, 0, 0, 1] and features.data.tolist() == [1.0078125]
    x = torch.tensor([[1 + 2.0**-20, 1 + 2.0**-19]])
    assert make_kernel(sae, CPU, "auto").encode(x).indices.tolist() == [1], "the threshold itself is not above it"


@pytest.mark.parametrize("name", [name for name in ALL if "norm" in name or "hook_z" in name])
def test_preprocessing_is_what_saelens_does_when_it_loads_the_folder_itself(name: str, tmp_path: Path) -> None:
    sae = loaded(name, tmp_path)
    theirs = SAE.load_from_disk(tmp_path / "sae", device="cpu", dtype="float32")
    x = rows(9, torch.bfloat16)
    heads = x.reshape(9, 4, D_IN // 4) if "hook_z" in name else x
    torch.testing.assert_close(sae.prepare(x), theirs.process_sae_in(heads), rtol=0, atol=0)


@pytest.mark.parametrize("width", [D_IN, 2304])
@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
def test_a_row_is_normalised_the_same_in_any_batch(norm: str, width: int, tmp_path: Path) -> None:
    sae = encoding.load(save(make_module("standard", d_in=width, normalize_activations=norm), tmp_path))
    x = torch.randn(65, width, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    whole = sae.prepare(x)
    for size in (1, 2, 64):
        parts = torch.cat([sae.prepare(x[i : i + size]) for i in range(0, len(x), size)])
        assert torch.equal(parts, whole), size


REBUILDING = [name for name in ALL if "transcoder" not in name and name != "matching_pursuit"]


@pytest.mark.parametrize("name", REBUILDING)
def test_decoding_sparse_rows_is_what_saelens_decodes(name: str, tmp_path: Path) -> None:
    sae = loaded(name, tmp_path)
    x = rows(12)
    features = make_kernel(sae, CPU, "auto").encode(x)
    with torch.no_grad():
        heads = sae.flat(x)
        expected = sae.module.decode(sae.module.encode(heads)).reshape(12, D_IN)
    assert sae.rebuilds
    torch.testing.assert_close(sae.decode(x, features), expected, rtol=1e-4, atol=1e-4)
    none = Csr(np.zeros(13, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), (12, D_SAE))
    assert sae.decode(x, none).isfinite().all()


def test_a_transcoder_does_not_rebuild_its_input(tmp_path: Path) -> None:
    assert not loaded("transcoder", tmp_path).rebuilds


def test_a_zero_row_has_no_features_where_its_norm_cannot_be_taken(tmp_path: Path) -> None:
    """SAELens divides by its norm, which is zero; nothing is above a threshold then."""
    sae = loaded("jumprelu, constant norm", tmp_path)
    x = torch.zeros(1, D_IN)
    for backend in ("auto", "reference"):
        assert make_kernel(sae, CPU, backend).encode(x).indices.tolist() == []
