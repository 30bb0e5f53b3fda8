"""Training checkpoints of SAELens: what is encoded is what the trainer's own last step would have made of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, D_SAE, dense, make_module, truth
from sae_lens import SAE
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening
from safetensors.torch import load_file, save_file

import encoder
from encoder.errors import InputError
from encoder.kernels import make_kernel
from encoder.sae.sae import LoadedSae

CPU = torch.device("cpu")
TRAINED: dict[str, dict[str, Any]] = {
    "standard": {"architecture": "standard"},
    "standard, b_dec not applied": {"architecture": "standard", "apply_b_dec_to_input": False},
    "jumprelu": {"architecture": "jumprelu"},
    "gated": {"architecture": "gated"},
    "topk": {"architecture": "topk", "k": 4},
    "topk, not rescaled": {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": False},
    "abstopk": {"architecture": "abstopk", "k": 4},
    "batchtopk": {"architecture": "batchtopk", "k": 4},
    "batchtopk, not rescaled": {"architecture": "batchtopk", "k": 4.5, "rescale_acts_by_decoder_norm": False},
    "matryoshka": {"architecture": "matryoshka_batchtopk", "k": 4, "matryoshka_widths": [16, 32, D_SAE]},
    "matching_pursuit": {"architecture": "matching_pursuit"},
}
SCALED = "expected_average_only_in"


def trained(name: str, **settings: Any) -> Any:
    module = make_module(training=True, **TRAINED[name], **settings)
    with torch.no_grad():
        module.b_dec.copy_(torch.linspace(-1, 1, D_IN))
    return module


def rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(5)) * 3


def whitening() -> ActivationWhitening:
    generator = torch.Generator().manual_seed(2)
    matrix = torch.eye(D_IN, dtype=torch.float64) + 0.05 * torch.randn(D_IN, D_IN, generator=generator).double()
    return ActivationWhitening(torch.linspace(0, 1, D_IN).double(), matrix, torch.linalg.inv(matrix))


def checkpoint(module: Any, folder: Path, scaler: ActivationScaler | None = None) -> Path:
    """Write what the trainer writes on the way."""
    module.save_model(folder)
    (scaler or ActivationScaler()).save(str(folder / "activation_scaler.json"))
    save_file({"sparsity": torch.zeros(D_SAE)}, folder / "sparsity.safetensors")
    return folder


def assert_same_features(sae: LoadedSae, expected: LoadedSae) -> None:
    assert sae.module.state_dict().keys() == expected.module.state_dict().keys()
    for name, weight in expected.module.state_dict().items():
        assert torch.equal(sae.module.state_dict()[name], weight), name
    assert sae.identity["weights_sha256"] == expected.identity["weights_sha256"]
    found, right = dense(make_kernel(sae, CPU, "auto").encode(rows())), truth(expected, rows())
    assert 0 < right.count_nonzero() < right.numel()
    np.testing.assert_array_equal(found != 0, (right != 0).numpy())
    np.testing.assert_array_max_ulp(found, right.float().numpy(), maxulp=1)


@pytest.mark.parametrize("name", TRAINED)
def test_a_checkpoint_is_encoded_as_the_sae_that_training_ends_with(name: str, tmp_path: Path) -> None:
    module = trained(name)
    sae = encoder.load_sae(sae_path=checkpoint(module, tmp_path / "ckpt"))
    module.save_inference_model(tmp_path / "final")
    assert_same_features(sae, encoder.load_sae(sae_path=tmp_path / "final"))
    assert any("training checkpoint" in note for note in sae.notes)
    theirs = SAE.load_from_disk(tmp_path / "final", device="cpu")
    assert sae.architecture == theirs.cfg.architecture()


@pytest.mark.parametrize("name", TRAINED)
def test_a_scaling_that_is_not_folded_in_is_folded_as_the_trainer_does(name: str, tmp_path: Path) -> None:
    module = trained(name, normalize_activations=SCALED)
    sae = encoder.load_sae(sae_path=checkpoint(module, tmp_path / "ckpt", ActivationScaler(0.3)))
    module.fold_activation_norm_scaling_factor(0.3)
    module.save_inference_model(tmp_path / "final")
    expected = encoder.load_sae(sae_path=tmp_path / "final")
    assert_same_features(sae, expected)
    assert any("0.3" in note and SCALED in note for note in sae.notes)
    assert not any(SCALED in note for note in expected.notes)


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "matching_pursuit"])
def test_a_whitening_that_is_not_folded_in_is_folded_as_the_trainer_does(name: str, tmp_path: Path) -> None:
    module, parts = trained(name, normalize_activations="covariance_whitening"), whitening()
    sae = encoder.load_sae(sae_path=checkpoint(module, tmp_path / "ckpt", ActivationScaler(None, parts)))
    module.fold_activation_whitening(parts.mean, parts.matrix, parts.inverse_matrix)
    module.save_inference_model(tmp_path / "final")
    assert_same_features(sae, encoder.load_sae(sae_path=tmp_path / "final"))


@pytest.mark.parametrize("name", ["standard", "standard, b_dec not applied", "jumprelu", "gated", "topk, not rescaled"])
@pytest.mark.parametrize("way", ["scaling", "whitening"])
def test_folding_gives_the_features_that_training_saw(name: str, way: str, tmp_path: Path) -> None:
    """The trainer's module in float64, on activations that its own scaler has scaled."""
    scaler = ActivationScaler(0.3) if way == "scaling" else ActivationScaler(None, whitening())
    module = trained(name, normalize_activations=SCALED if way == "scaling" else "covariance_whitening")
    sae = encoder.load_sae(sae_path=checkpoint(module, tmp_path / "ckpt", scaler))
    with torch.no_grad():
        wide = copy.deepcopy(module).double()
        expected = wide.encode(scaler(rows().double()))
    found = torch.from_numpy(dense(make_kernel(sae, CPU, "auto").encode(rows()))).double()
    is_clear = (expected == 0) == (found == 0)
    assert is_clear.float().mean() > 0.999, "float32 weights may decide otherwise at a threshold alone"
    torch.testing.assert_close(found[is_clear], expected[is_clear], rtol=1e-4, atol=1e-5)


def inference_folder(folder: Path, **changes: Any) -> Path:
    """Write an inference SAE whose cfg.json has these changes."""
    encoding.save(make_module("standard"), folder)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | changes))
    return folder


def test_an_inference_sae_with_its_scaler_beside_it_is_folded(tmp_path: Path) -> None:
    folder = inference_folder(tmp_path / "sae", normalize_activations=SCALED)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.5}')
    sae = encoder.load_sae(sae_path=folder)
    module = make_module("standard")
    x = rows().double()
    with torch.no_grad():
        expected = copy.deepcopy(module).double().encode(x * 0.5)
    found = torch.from_numpy(dense(make_kernel(sae, CPU, "auto").encode(rows()))).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "written", [None, '{"scaling_factor": null}', '{"scaling_factor": 0}', '{"scaling_factor": -1}']
)
def test_a_scaling_that_is_nowhere_is_refused_with_what_to_do(written: str | None, tmp_path: Path) -> None:
    folder = inference_folder(tmp_path / "sae", normalize_activations=SCALED)
    if written is not None:
        (folder / "activation_scaler.json").write_text(written)
    with pytest.raises(InputError, match=r"scaling_factor|activation_scaler\.json") as refused:
        encoder.load_sae(sae_path=folder)
    assert "activation_scaler.json" in str(refused.value)


def test_a_scaling_that_the_configuration_does_not_ask_for_is_refused(tmp_path: Path) -> None:
    folder = inference_folder(tmp_path / "sae")
    for harmless in ('{"scaling_factor": null}', '{"scaling_factor": 1.0}'):
        (folder / "activation_scaler.json").write_text(harmless)
        encoder.load_sae(sae_path=folder)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.5}')
    with pytest.raises(InputError, match="normalize_activations is 'none'"):
        encoder.load_sae(sae_path=folder)


def test_the_scaling_of_a_checkpoint_before_saelens_6_is_in_the_activations_store(tmp_path: Path) -> None:
    folder = inference_folder(
        tmp_path / "sae", normalize_activations=True, metadata={}, sae_lens_version="5.10.7", activation_fn_str="relu"
    )
    with pytest.raises(InputError, match=SCALED):
        encoder.load_sae(sae_path=folder)
    save_file({"n_dataset_processed": torch.tensor(3)}, folder / "activations_store_state.safetensors")
    with pytest.raises(InputError, match=SCALED):
        encoder.load_sae(sae_path=folder)
    state = {"estimated_norm_scaling_factor": torch.tensor(0.25)}
    save_file(state, folder / "activations_store_state.safetensors")
    sae = encoder.load_sae(sae_path=folder)
    plain = load_file(folder / "sae_weights.safetensors")
    assert torch.equal(sae.module.W_enc, plain["W_enc"] * 0.25) and torch.equal(sae.module.b_dec, plain["b_dec"] * 4)


def test_a_threshold_keeps_the_trainers_precision(tmp_path: Path) -> None:
    """A JumpReLU trained in bfloat16 keeps its threshold in float32, and it is not rounded on the way."""
    module = trained("jumprelu", dtype="bfloat16")
    module.threshold.data.fill_(1 + 2.0**-20)
    sae = encoder.load_sae(sae_path=checkpoint(module, tmp_path / "ckpt"))
    assert sae.rule is not None and torch.equal(sae.rule.threshold, torch.full((D_SAE,), 1 + 2.0**-20))


def test_an_old_checkpoints_threshold_is_the_exponential_of_its_logarithm(tmp_path: Path) -> None:
    module = trained("jumprelu")
    folder = checkpoint(module, tmp_path / "ckpt")
    weights = load_file(folder / "sae_weights.safetensors")
    weights["log_threshold"] = weights.pop("threshold").log()
    save_file(weights, folder / "sae_weights.safetensors")
    sae = encoder.load_sae(sae_path=folder)
    assert torch.equal(sae.module.state_dict()["threshold"], weights["log_threshold"].exp())


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('{"scaling_factor": "0.5"}', "scaling_factor is '0.5', expected a number"),
        ('{"scaling_factor": [0.5, 0.5]}', "scaling_factor is '[0.5, 0.5]', expected a number"),
        ('{"scaling_factor": true}', "scaling_factor is 'True', expected a number"),
        ('{"norm_factor": 0.5}', "scaling_factor is 'not there', expected a number"),
        ("[0.5]", "expected a JSON object, got list"),
        ("{broken", "cannot load this configuration"),
        ('{"scaling_factor": NaN}', "scaling_factor is nan, expected a positive number"),
    ],
)
def test_a_scaler_file_that_cannot_be_believed_is_refused_with_its_name(
    tmp_path: Path, written: str, words: str
) -> None:
    folder = inference_folder(tmp_path / "sae", normalize_activations=SCALED)
    (folder / "activation_scaler.json").write_text(written)
    with pytest.raises(InputError) as refused:
        encoder.load_sae(sae_path=folder)
    assert "activation_scaler.json" in str(refused.value) and words in str(refused.value)


def test_heads_of_a_hook_that_has_none_are_refused(tmp_path: Path) -> None:
    folder = inference_folder(tmp_path / "sae", reshape_activations="hook_z", metadata={"hook_name": "x.hook_mlp_out"})
    with pytest.raises(InputError, match=r"reshape_activations is 'hook_z'.*hook_mlp_out"):
        encoder.load_sae(sae_path=folder)
