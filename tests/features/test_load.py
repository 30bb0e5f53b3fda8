"""The three ways to load an SAE lead to the same module; what is no SAE is refused in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import make_module, save
from hub import HubProcess
from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from zygote import Zygote

from encoder.errors import InputError
from encoder.sae.load import load_named, load_sae, weights_sha256

RELEASE, SAE_ID = "gemma-scope-2b-pt-res-canonical", "layer_16/width_16k/canonical"
DEFAULT_PATH = "layer_16/width_16k/average_l0_78"
OTHER = "gemma-scope-2b-pt-res"


def refused(*words: str, **named: Any) -> None:
    """Loading is refused in one line that has these words."""
    with pytest.raises(InputError) as caught:
        load_named(named)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


# From a folder


def test_a_folder_gives_the_weights_that_saelens_loads(tmp_path: Path) -> None:
    save(make_module("jumprelu"), tmp_path / "sae")
    sae = encoding.load(tmp_path / "sae")
    theirs = SAE.load_from_disk(tmp_path / "sae", device="cpu")
    assert sae.module.state_dict().keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        assert torch.equal(sae.module.state_dict()[name], weight)
    assert sae.identity["sae_path"] == str(tmp_path / "sae") and sae.identity["sae_release"] is None
    assert (sae.d_in, sae.d_sae, sae.architecture) == (encoding.D_IN, encoding.D_SAE, "jumprelu")
    assert not any(weight.requires_grad for weight in sae.module.parameters())


def test_a_folder_tells_hook_and_neuronpedia_id(tmp_path: Path) -> None:
    module = make_module("standard")
    module.cfg.metadata.hook_name, module.cfg.metadata.neuronpedia_id = "blocks.3.hook_resid_post", "gpt2-small/3-res"
    sae = encoding.load(save(module, tmp_path))
    assert sae.hook_name == "blocks.3.hook_resid_post"
    assert sae.identity["neuronpedia_id"] == "gpt2-small/3-res"


def test_an_sae_saved_in_bfloat16_is_float32_in_memory(tmp_path: Path) -> None:
    module = make_module("jumprelu").to(torch.bfloat16)
    module.cfg.dtype = "bfloat16"
    sae = encoding.load(save(module, tmp_path))
    assert {weight.dtype for weight in sae.module.state_dict().values()} == {torch.float32}
    assert sae.prepare(torch.zeros(1, encoding.D_IN, dtype=torch.bfloat16)).dtype == torch.float32


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:n_bytes])


def without(key: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        config = json.loads(path.read_bytes())
        del config[key]
        path.write_text(json.dumps(config))

    return change


def other(**members: Any) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_bytes()) | members)) and None


BROKEN_FOLDERS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no cfg.json": ("cfg.json", Path.unlink, "cfg.json"),
    "no weights": ("sae_weights.safetensors", Path.unlink, "sae_weights.safetensors"),
    "weights cut in the header": ("sae_weights.safetensors", lambda path: cut(path, 20), "header"),
    "weights cut": ("sae_weights.safetensors", lambda path: cut(path, 2000), "incomplete"),
    "empty weights": ("sae_weights.safetensors", lambda path: cut(path, 0), "header"),
    "cfg.json is not JSON": ("cfg.json", lambda path: cut(path, 20), "cannot load"),
    "cfg.json is a list": ("cfg.json", lambda path: path.write_text("[]") and None, "cannot load"),
    "no d_sae": ("cfg.json", without("d_sae"), "d_sae"),
    "another d_in": ("cfg.json", other(d_in=49), "size mismatch for W_enc"),
    "an unknown architecture": ("cfg.json", other(architecture="telepathy"), "telepathy"),
    "an unknown normalisation": ("cfg.json", other(normalize_activations="prayer"), "prayer"),
}


@pytest.mark.parametrize("name", BROKEN_FOLDERS)
def test_a_broken_folder_is_refused_with_what_is_wrong(name: str, tmp_path: Path) -> None:
    file, damage, word = BROKEN_FOLDERS[name]
    damage(save(make_module("jumprelu"), tmp_path / "sae") / file)
    refused(str(tmp_path / "sae"), word, sae_path=str(tmp_path / "sae"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("weight", ["W_enc", "threshold", "b_dec"])
def test_weights_that_are_not_finite_are_refused_by_name(weight: str, value: float, tmp_path: Path) -> None:
    module = make_module("jumprelu")
    getattr(module, weight).data.view(-1)[3] = value
    refused("damaged", weight, sae_path=str(save(module, tmp_path)))


def test_a_temporal_sae_is_refused_as_rows_are_not_enough_for_it(tmp_path: Path) -> None:
    module = make_module("temporal", n_heads=2, bottleneck_factor=4, sae_diff_type="relu")
    refused("temporal", "whole texts", sae_path=str(save(module, tmp_path)))


# From a params.npz


def test_a_params_npz_is_the_jumprelu_sae_that_saelens_makes_of_it(tmp_path: Path) -> None:
    weights = encoding.dictionary()
    sae = encoding.load(encoding.save_params(tmp_path / "params.npz", weights))
    assert sae.architecture == "jumprelu" and sae.module.cfg.apply_b_dec_to_input is False
    for name, weight in weights.items():
        assert torch.equal(sae.module.state_dict()[name], weight)
    folder = make_module("jumprelu", apply_b_dec_to_input=False)
    folder.load_state_dict(weights)
    assert sae.identity["weights_sha256"] == encoding.load(save(folder, tmp_path / "sae")).identity["weights_sha256"]


def as_wide(folder: Path, **changes: Any) -> Path:
    weights: dict[str, Any] = {name: weight.numpy() for name, weight in encoding.dictionary().items()}
    kept = {name: value for name, value in (weights | changes).items() if value is not None}
    np.savez(folder / "params.npz", **kept)
    return folder / "params.npz"


BROKEN_PARAMS: dict[str, tuple[dict[str, Any], str]] = {
    "no threshold": ({"threshold": None}, "no threshold"),
    "a matrix for a vector": ({"b_enc": np.zeros((2, 64), np.float32)}, "b_enc is float32 [2, 64]"),
    "a decoder of another width": ({"W_dec": np.zeros((63, 48), np.float32)}, "W_dec has the shape [63, 48]"),
    "a threshold of another width": ({"threshold": np.zeros(1, np.float32)}, "threshold has the shape [1]"),
    "strings": ({"b_dec": np.array(["x"] * 48)}, "b_dec is <U1 [48]"),
    "complex numbers": ({"b_dec": np.zeros(48, np.complex64)}, "b_dec is complex64"),
    "objects": ({"b_dec": np.array([None] * 48)}, "allow_pickle"),
    "NaN": ({"b_dec": np.full(48, np.nan, np.float32)}, "b_dec holds NaN"),
    "a scaling factor": ({"scaling_factor": np.full(64, 2.0, np.float32)}, "scaling_factor"),
}


@pytest.mark.parametrize("name", BROKEN_PARAMS)
def test_a_params_npz_that_is_none_is_refused_with_what_is_wrong(name: str, tmp_path: Path) -> None:
    changes, word = BROKEN_PARAMS[name]
    path = as_wide(tmp_path, **changes)
    refused(str(path), word, sae_path=str(path))


def test_float64_and_float16_params_become_float32(tmp_path: Path) -> None:
    path = as_wide(tmp_path, b_enc=np.full(64, 0.5), threshold=np.ones(64, np.float16))
    state = encoding.load(path).module.state_dict()
    assert state["b_enc"].dtype == state["threshold"].dtype == torch.float32 and state["b_enc"][0] == 0.5


def test_damaged_npz_files_are_refused(tmp_path: Path) -> None:
    path = as_wide(tmp_path)
    whole = path.read_bytes()
    compressed = tmp_path / "compressed.npz"
    np.savez_compressed(compressed, **np.load(path))
    middle = bytearray(compressed.read_bytes())
    middle[200:260] = bytes(60)
    single = tmp_path / "single"
    np.save(single, np.zeros(3))
    for content in (
        b"",
        b"PK\x03\x04",
        whole[: len(whole) // 2],
        bytes(middle),
        single.with_suffix(".npy").read_bytes(),
    ):
        path.write_bytes(content)
        refused(str(path), "not a readable npz", sae_path=str(path))
    flipped = bytearray(whole)
    flipped[1000] ^= 1
    path.write_bytes(flipped)
    refused("CRC", sae_path=str(path))


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused("no W_enc", sae_path=str(tmp_path / "x.npz"))


# By name


def test_an_sae_is_named_in_one_way(tmp_path: Path) -> None:
    for named in (
        {},
        {"sae_release": RELEASE},
        {"sae_id": SAE_ID},
        {"sae_release": RELEASE, "sae_id": SAE_ID, "sae_path": str(tmp_path)},
    ):
        refused("--sae-release R --sae-id ID, or by --sae-path", **named)
    refused("there is no such file or folder", sae_path=str(tmp_path / "nowhere"))


def test_python_names_an_sae_by_path_or_by_name(tmp_path: Path) -> None:
    module = make_module("jumprelu")
    module.cfg.metadata.hook_name = "blocks.3.hook_resid_post"
    save(module, tmp_path / "sae")
    for path in (tmp_path / "sae", str(tmp_path / "sae")):
        sae = load_sae(sae_path=path)
        assert repr(sae) == f"<LoadedSae {path}: jumprelu, d_in 48, d_sae 64, at blocks.3.hook_resid_post>"
    with pytest.raises(InputError, match="give it, or --sae-release"):
        load_sae(RELEASE, SAE_ID, sae_path=tmp_path / "sae")
    with pytest.raises(InputError, match="say which of its SAEs"):
        load_sae("gpt2-small-res-jb")
    with pytest.raises(InputError, match="no such file or folder"):
        load_sae(sae_path=tmp_path / "nowhere")
    for release, sae_id, flag in (
        (RELEASE, "", "--sae-id"),
        ("", SAE_ID, "--sae-release"),
        ("", None, "--sae-release"),
    ):
        with pytest.raises(InputError, match=f"{flag}: it is empty"):
            load_sae(release, sae_id)


def test_unknown_names_are_refused_with_the_closest() -> None:
    refused("gemma-scope-2b-pt-res-canonical", sae_release="gemma-scope-2b-pt-res-cannonical", sae_id=SAE_ID)
    refused("the closest is layer_16/width_16k", sae_release=RELEASE, sae_id="layer_16/width_16k")


def test_the_hash_tells_settings_of_the_encoding_apart() -> None:
    """The same weights with another k are another SAE; so are they normalised in another way."""
    hashes = [
        weights_sha256(make_module(architecture, **settings))
        for architecture, settings in [
            ("topk", {"k": 4}),
            ("topk", {"k": 5}),
            ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
            ("topk", {"k": 5, "normalize_activations": "layer_norm"}),
            ("topk", {"k": 5, "apply_b_dec_to_input": False}),
            ("standard", {}),
        ]
    ]
    assert len(set(hashes)) == len(hashes)
    assert weights_sha256(make_module("topk", k=4)) == hashes[0]


def test_the_hash_tells_weights_apart() -> None:
    module = make_module("jumprelu")
    before = weights_sha256(module)
    module.threshold.data[0] = torch.nextafter(module.threshold.data[0], torch.tensor(9.0))
    assert weights_sha256(module) != before


# From Hugging Face, by the command itself


def test_the_default_sae_comes_from_hugging_face_when_none_is_named(
    hub: HubProcess, zygote: Zygote, tmp_path: Path
) -> None:
    encoding.gemma_scope(hub.root / DEFAULT_PATH)
    x = np.zeros((20, 2304), np.float32)
    small = encoding.dictionary(16, 16384)
    x[:, :16] = encoding.planted(20, small).numpy()
    np.save(tmp_path / "x.npy", x)
    status, ran = zygote.run("run", tmp_path / "x.npy", "--out", tmp_path / "out", "--json")
    assert status == 0, ran.err
    assert json.loads(ran.out)["done"] == 1
    by_name = encoding.meta(tmp_path / "out" / "x.npz")
    assert (by_name["sae_release"], by_name["sae_id"], by_name["sae_path"]) == (RELEASE, SAE_ID, None)
    assert by_name["neuronpedia_id"] == "gemma-2-2b/16-gemmascope-res-16k"
    assert by_name["hook_name"] == "blocks.16.hook_resid_post"
    expected = x[:, :16].astype(np.float64) @ small["W_enc"].double().numpy()
    expected[expected <= 4] = 0
    found = encoding.read(tmp_path / "out" / "x.npz")
    assert found.nnz > 20
    np.testing.assert_array_equal(found.indices, np.nonzero(expected)[1])
    np.testing.assert_array_max_ulp(found.data, expected[expected != 0].astype(np.float32))


def test_a_repository_of_hugging_face_can_be_named_itself(hub: HubProcess, zygote: Zygote, tmp_path: Path) -> None:
    module = make_module("jumprelu")
    module.cfg.metadata.neuronpedia_id = "my-model/3-my-sae"
    save(module, hub.root / "own/layer_3")
    np.save(tmp_path / "x.npy", np.ones((2, encoding.D_IN), np.float32))
    named = ("--sae-release", hub.repo, "--sae-id", "own/layer_3")
    status, ran = zygote.run("run", tmp_path / "x.npy", "--out", tmp_path / "out", *named)
    assert status == 0, ran.err
    meta = encoding.meta(tmp_path / "out" / "x.npz")
    assert (meta["sae_release"], meta["sae_id"], meta["sae_path"]) == (hub.repo, "own/layer_3", None)
    assert meta["neuronpedia_id"] == "my-model/3-my-sae"


def test_what_hugging_face_does_not_give_is_refused_in_one_line(
    hub: HubProcess, zygote: Zygote, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2304), np.float32))
    damaged = hub.root / "embedding/width_4k/average_l0_6"
    damaged.mkdir(parents=True)
    (damaged / "params.npz").write_bytes(b"PK\x03\x04 this is no zip file")
    misshapen = hub.root / "embedding/width_4k/average_l0_44"
    misshapen.mkdir(parents=True)
    np.savez(misshapen / "params.npz", **{name: w.numpy() for name, w in encoding.dictionary().items()})
    cases: list[tuple[str, str, bool, str]] = [
        (OTHER, "embedding/width_4k/average_l0_6", False, "was downloaded, but SAELens cannot load it"),
        (OTHER, "embedding/width_4k/average_l0_44", False, "size mismatch"),
        (OTHER, "embedding/width_4k/average_l0_21", False, "could not be downloaded"),
        ("gemma-scope-9b-pt-res-canonical", "layer_9/width_16k/canonical", False, "could not be downloaded"),
        (OTHER, "embedding/width_4k/average_l0_111", True, "could not be downloaded"),
    ]
    for release, sae_id, offline, word in cases:
        named = ("--sae-release", release, "--sae-id", sae_id)
        status, ran = zygote.run(
            "run", tmp_path / "x.npy", "--out", tmp_path / "out", *named, "--quiet", offline=offline
        )
        said = [line for line in ran.err.splitlines() if line.startswith("sae-encode: ")]
        assert (status, ran.out, len(said)) == (2, "", 1), ran.err
        assert word in said[0] and "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()


def test_the_l0_that_an_sae_was_trained_for_is_read_off_its_path() -> None:
    assert get_pretrained_saes_directory()[RELEASE].saes_map[SAE_ID] == DEFAULT_PATH
