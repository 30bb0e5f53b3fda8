"""A folder with the features of several SAEs: each is found by its name, by every reader of features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import encoding
import numpy as np
import pytest
from encoding import Command
from test_several_saes import Capture

import encoder
from encoder.errors import EncoderError
from encoder.file.sae_folders import find_folder, sae_folders


def of_registry(folder: Path, ids: list[str], release: str = "a-release") -> Path:
    for sae_id in ids:
        (folder / release / sae_id.replace("/", "_")).mkdir(parents=True)
        (folder / release / sae_id.replace("/", "_") / "a.npz").write_bytes(b"")
    return folder


@pytest.fixture
def few(tmp_path: Path) -> Capture:
    capture = Capture(tmp_path, 3)
    capture.shard("a")
    capture.shard("b", seed=1)
    capture.encode()
    return capture


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a-release/layer_1_width_16k", "layer_1_width_16k"),
        ("layer_1_width_16k", "layer_1_width_16k"),
        ("layer_1/width_16k", "layer_1_width_16k"),
        (("a-release", "layer_1/width_16k"), "layer_1_width_16k"),
        ("layer_1", "layer_1_width_16k"),
        ("layer_12", "layer_12_width_16k"),
        ("layer_2*", "layer_2_width_65k"),
        ("width_65k", "layer_2_width_65k"),
    ],
)
def test_an_sae_is_found_by_its_id_its_folder_a_pattern_or_a_part(
    tmp_path: Path, name: str | tuple[str, str], found: str
) -> None:
    of_registry(tmp_path, ["layer_1/width_16k", "layer_12/width_16k", "layer_2/width_65k"])
    assert find_folder(tmp_path, name) == tmp_path / "a-release" / found


def test_a_name_of_none_or_of_several_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    of_registry(tmp_path, ["layer_1/width_16k", "layer_12/width_16k"])
    for name, words in (
        ("layer_3", "has no SAE 'layer_3'; it has a-release/layer_1_width_16k, a-release/layer_12_width_16k"),
        (("a-release", "layer_3"), "has no SAE a-release layer_3; it has"),
        ("width_16k", "several SAEs are called 'width_16k'; name one of a-release/layer_1_width_16k, "),
        (None, "has the features of 2 SAEs; name one with sae=: a-release/layer_1_width_16k, "),
    ):
        with pytest.raises(EncoderError) as refused:
            find_folder(tmp_path, name)
        assert words in str(refused.value)


def test_the_only_sae_needs_no_name_and_a_folder_of_features_is_its_own(tmp_path: Path) -> None:
    of_registry(tmp_path / "one", ["layer_1"])
    assert find_folder(tmp_path / "one") == tmp_path / "one" / "a-release" / "layer_1"
    (tmp_path / "one" / "b.npz").write_bytes(b"")
    assert find_folder(tmp_path / "one") == tmp_path / "one" and sae_folders(tmp_path / "one") == {}
    (tmp_path / "empty" / ".queue" / "done").mkdir(parents=True)
    assert sae_folders(tmp_path / "empty") == {} and find_folder(tmp_path / "no") == tmp_path / "no"


def test_features_are_opened_by_name(few: Capture) -> None:
    for layer in range(3):
        with encoder.open_features(few.out, f"layer_{layer}") as features:
            assert features.shape == (140, encoding.D_SAE) and features.meta[0]["sae_path"] == str(few.saes[layer])
    with pytest.raises(EncoderError, match="has the features of 3 SAEs"):
        encoder.open_features(few.out)
    own = few.out / few.folders()[0]
    assert encoder.open_features(own, sae="layer_0").n_shards == 2
    with pytest.raises(EncoderError, match=r"has the features of .*layer_0, not of 'layer_1'"):
        encoder.open_features(own, sae="layer_1")


def test_stats_and_index_go_through_all_saes(few: Capture, encode: Command) -> None:
    told = encode("stats", few.out, "--json").document["saes"]
    assert [one["folder"] for one in told] == sorted(few.folders())
    assert [one["sae_path"] for one in told] == [str(path) for path in few.saes] and told[0]["rows"] == 140
    assert encode("stats", few.out).out.count("140 rows") == 3
    made = encode("index", few.out, "--json").document["saes"]
    assert [(one["sae"], one["state"]) for one in made] == [(name, "made") for name in sorted(few.folders())]
    assert {one["state"] for one in encode("index", few.out, "--json").document["saes"]} == {"unchanged"}
    with encoder.open_index(few.out, sae="layer_1") as index, encoder.open_features(few.out, "layer_1") as features:
        assert index.state == "ready" and index.nnz == features.nnz
    assert encoder.index_state(few.out, sae="layer_2") == "ready"


def test_the_index_of_features_that_nobody_may_write_beside_lies_elsewhere(few: Capture, encode: Command) -> None:
    own, elsewhere = few.out / few.folders()[0], few.folder / "index"
    own.chmod(0o500)
    made = encode("index", own, "--out", elsewhere, "--json")
    assert made.status == 0 and made.document["path"] == str(elsewhere / "features.csc")
    assert encode("index", own, "--out", elsewhere, "--json").document["state"] == "unchanged"
    assert [path.name for path in own.iterdir() if path.suffix != ".npz"] == ["_run.json"]
    with encoder.open_index(own, index=elsewhere) as index:
        assert index.state == "ready" and encoder.index_state(own, index=elsewhere) == "ready"
        beside = shutil.copytree(own, few.folder / "copy")
        assert encode("index", beside).status == 0
        assert (beside / "features.csc").read_bytes() == index.path.read_bytes()
    assert encoder.index_state(own) == "missing"
    (elsewhere / "features.csc").write_bytes(b"damaged")
    with pytest.raises(EncoderError, match=f"sae-encode index {own} --out {elsewhere}"):
        encoder.open_index(own, index=elsewhere)
    of_all = encode("index", few.out, "--out", few.folder / "all", "--json").document["saes"]
    assert [one["path"] for one in of_all] == [str(few.folder / "all" / one["sae"] / "features.csc") for one in of_all]
    assert encoder.index_state(few.out, sae="layer_1", index=few.folder / "all") == "ready"


def test_a_run_of_a_pattern_can_be_looked_at_in_one_sae_alone(few: Capture) -> None:
    with encoder.open_features(few.out, "layer_1") as features:
        found = features[0:70]
    truth = encoding.truth(encoding.load(few.saes[1]), few.rows(0)[1])
    np.testing.assert_array_equal(found.toarray() != 0, (truth != 0).numpy())
    assert json.loads(json.dumps(features.meta[0]["hook_name"])) == "blocks.1.hook_resid_post"
