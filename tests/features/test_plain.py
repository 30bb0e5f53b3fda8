"""What stands in for SAELens computes SAELens' numbers, bit for bit, and does without SAELens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, D_SAE, make_module, save
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting
from test_keys import OLD
from test_sae import ALL

from encoder.file.csr import Csr
from encoder.kernels import make_kernel
from encoder.sae.load import weights_sha256
from encoder.sae.loaders.defaults import defaulted
from encoder.sae.plain import ENCODERS, Plain, config_of, is_plain

PLAIN = [name for name in ALL if "trained" not in name and name != "matching_pursuit"]
CASES = {name: ALL[name] for name in PLAIN} | {
    "gated, layer norm": {"architecture": "gated", "normalize_activations": "layer_norm"},
    "abstopk, rescaled": {"architecture": "abstopk", "k": 4, "rescale_acts_by_decoder_norm": True},
    "abstopk, hook_z, constant norm": {
        "architecture": "abstopk",
        "k": 4,
        "reshape_activations": "hook_z",
        "normalize_activations": "constant_norm_rescale",
    },
}


def rows(dtype: torch.dtype) -> torch.Tensor:
    """Rows of many sizes, one of zeros, one of equal numbers."""
    x = torch.randn(70, D_IN, generator=torch.Generator().manual_seed(8)) * torch.logspace(-3, 3, 70).unsqueeze(1)
    x[3], x[4] = 0, 1.5
    return x.to(dtype)


def assert_same_bits(found: torch.Tensor, expected: torch.Tensor) -> None:
    integer = {torch.float32: torch.int32, torch.float64: torch.int64}[expected.dtype]
    assert found.dtype == expected.dtype and found.shape == expected.shape
    is_nan = expected.isnan()
    assert torch.equal(found.isnan(), is_nan)
    assert torch.equal(found.contiguous().view(integer)[~is_nan], expected.contiguous().view(integer)[~is_nan])


@pytest.mark.parametrize("name", CASES)
def test_rows_weights_and_the_way_back_are_those_of_saelens(name: str, tmp_path: Path) -> None:
    sae = encoding.load(save(make_module(**CASES[name]), tmp_path))
    theirs = SAE.load_from_disk(tmp_path, device="cpu", dtype="float32")
    assert isinstance(sae.source, Plain)
    assert weights_sha256(sae.source) == weights_sha256(theirs) == sae.identity["weights_sha256"]
    for weight, tensor in theirs.state_dict().items():
        assert_same_bits(sae.source.state_dict()[weight], tensor)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        x = rows(dtype)
        with torch.no_grad():
            assert_same_bits(sae.prepare(x), theirs.process_sae_in(sae.flat(x)).reshape(len(x), D_IN))
            if "transcoder" not in name:
                rebuilt = torch.randn(len(x), D_IN, generator=torch.Generator().manual_seed(2))
                back = theirs.run_time_activation_norm_fn_out(rebuilt.clone())
                assert_same_bits(sae.source.denormalised(rebuilt, x), back)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["architecture"] in ENCODERS])
def test_features_without_an_exact_rule_are_those_of_saelens(name: str, tmp_path: Path) -> None:
    sae = encoding.load(save(make_module(**CASES[name]), tmp_path))
    theirs = SAE.load_from_disk(tmp_path, device="cpu", dtype="float32")
    assert isinstance(sae.source, Plain)
    x = rows(torch.float32)[5:]
    with torch.no_grad():
        assert_same_bits(sae.source.encode(sae.flat(x)), theirs.encode(sae.flat(x)))
        wide = theirs.to(dtype=torch.float64).encode(sae.flat(x))
    found: Csr = make_kernel(sae, torch.device("cpu"), "auto").encode(x)
    np.testing.assert_array_equal(found.data, wide[wide != 0].float().numpy())
    assert {weight.dtype for weight in sae.source.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("name", ["jumprelu", "topk", "gated", "skip_transcoder"])
def test_saelens_own_module_is_there_for_who_asks_and_shares_the_weights(name: str, tmp_path: Path) -> None:
    sae = encoding.load(save(make_module(**CASES[name]), tmp_path))
    assert isinstance(sae.module, SAE) and sae.module is sae.module
    for weight, tensor in sae.module.state_dict().items():
        assert tensor.data_ptr() == sae.source.state_dict()[weight].data_ptr()
    with pytest.raises(AttributeError, match="no 'telepathy'"):
        _ = sae.source.telepathy


CONFIGS: dict[str, dict[str, Any]] = {
    "as SAELens 3 wrote it": OLD,
    "without an architecture": {key: value for key, value in OLD.items() if key != "architecture"},
    "with the names of SAELens 1": {"d_in": 4, "d_sae": 8, "hook_point": "blocks.2.attn.hook_z", "hook_point_layer": 2},
    "topk by its activation function": OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
    "topk by its architecture": OLD | {"architecture": "topk", "activation_fn_kwargs": {"k": 3}},
    "a scaling that is a flag": OLD | {"normalize_activations": True},
    "no scaling, as a flag": OLD | {"normalize_activations": False},
    "no scaling, as nothing": OLD | {"normalize_activations": None},
    "jumprelu of SAELens 5": OLD | {"architecture": "jumprelu", "sae_lens_version": "5.10.7", "neuronpedia_id": "a/b"},
    "a transcoder": OLD | {"architecture": "transcoder", "d_out": 5, "apply_b_dec_to_input": False},
    "SAELens 6": {"architecture": "gated", "d_in": 4, "d_sae": 8, "metadata": {"sae_lens_version": "6.0.0"}},
    "a candidate of SAELens 6": OLD | {"sae_lens_version": "6.0.0rc1"},
    "a version before the first candidate": OLD | {"sae_lens_version": "6.0.0a1"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_of_any_age_is_read_as_saelens_reads_it(name: str) -> None:
    found, theirs = defaulted(CONFIGS[name]), handle_config_defaulting(dict(CONFIGS[name]))
    assert found == theirs
    config = config_of(theirs)
    assert config is not None and config.architecture() == theirs["architecture"]
    assert {key: theirs["metadata"][key] for key in config.metadata} == config.metadata


@pytest.mark.parametrize(
    "raw",
    [
        OLD | {"architecture": "matching_pursuit"},
        OLD | {"hook_name": None},
        OLD | {"architecture": "topk", "activation_fn_kwargs": None},
        OLD | {"architecture": "topk", "activation_fn_kwargs": {}},
        {"architecture": "temporal", "sae_lens_version": "6.1.0"},
    ],
)
def test_what_saelens_has_to_judge_is_left_to_saelens(raw: dict[str, Any]) -> None:
    assert defaulted(raw) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"d_in": "48"},
        {"d_sae": 0},
        {"normalize_activations": "prayer"},
        {"reshape_activations": "hook_z", "metadata": {"hook_name": "blocks.1.hook_resid_post"}},
        {"apply_b_dec_to_input": None},
        {"architecture": "transcoder"},
        {"architecture": "matching_pursuit"},
    ],
)
def test_a_configuration_that_saelens_refuses_is_not_taken(changes: dict[str, Any]) -> None:
    good = {"architecture": "jumprelu", "d_in": D_IN, "d_sae": D_SAE}
    assert config_of(good) is not None and config_of(good | changes) is None
    assert not is_plain(None) and not is_plain(["jumprelu"])


def test_every_plain_sae_is_loaded_encoded_and_judged_without_saelens(tmp_path: Path) -> None:
    """One process for all of them: a folder of each architecture, a params.npz, and a scaling that is folded."""
    for name, case in CASES.items():
        save(make_module(**case), tmp_path / name)
    scaled = save(make_module("standard", normalize_activations="expected_average_only_in"), tmp_path / "scaled")
    (scaled / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.5}))
    encoding.save_params(tmp_path / "params.npz", encoding.dictionary())
    code = """
import sys, torch
from pathlib import Path
import encoder
from encoder.kernels import make_kernel
from encoder.sae.quality import Sample
x = torch.randn(40, int(sys.argv[2]), generator=torch.Generator().manual_seed(0))
for path in sorted(Path(sys.argv[1]).iterdir()):
    sae = encoder.load_sae(sae_path=path)
    features = make_kernel(sae, torch.device("cpu"), "auto").encode(x)
    sample = Sample(sae)
    sample.add(x, features)
    sample.score()
    print(path.name)
print({"sae_lens", "transformer_lens", "transformers", "datasets", "huggingface_hub", "pandas"} & {*sys.modules})
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(D_IN)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *names, imported = done.stdout.splitlines()
    assert len(names) == len(CASES) + 2 and imported == "set()"
