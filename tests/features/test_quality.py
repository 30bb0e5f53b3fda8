"""Is it the right SAE? Scores of what it explains and of what it does not, and which of them lead to a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.kernels import make_kernel
from encoder.kernels.kernel import Kernel
from encoder.sae.quality import N_SAMPLE, Quality, Sample
from encoder.sae.sae import LoadedSae


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> LoadedSae:
    path = tmp_path_factory.mktemp("sae") / "params.npz"
    return encoding.load(encoding.save_params(path, encoding.dictionary()))


@pytest.fixture(scope="module")
def kernel(sae: LoadedSae) -> Kernel:
    return make_kernel(sae, torch.device("cpu"), "reference")


def score(
    sae: LoadedSae, kernel: Kernel, x: torch.Tensor, batch: int = 64, counts: np.ndarray[Any, Any] | None = None
) -> Quality:
    sample = Sample(sae)
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        sample.add(part, kernel.encode(part), None if counts is None else counts[start : start + batch])
    return sample.score()


def test_the_right_activations_are_explained_and_nothing_is_said(sae: LoadedSae, kernel: Kernel) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        quality = score(sae, kernel, encoding.planted(300, encoding.dictionary(), dtype=dtype))
        assert quality.explained_variance is not None and quality.explained_variance > 0.99
        assert quality.cosine is not None and quality.cosine > 0.99 and quality.mean_l0 == 1
        assert quality.warning(None) is None and quality.warning(1.0) is None


WRONG = {
    "another order of the dimensions": lambda x: x.flip(1),
    "another layer's directions": lambda x: x @ torch.linalg.qr(encoding.noise(x.shape[1], x.shape[1]))[0],
    "normalised to length 1": lambda x: x / x.norm(dim=1, keepdim=True),
    "ten times smaller": lambda x: x / 10,
    "noise": lambda x: encoding.noise(*x.shape),
    "noise of the same size": lambda x: encoding.noise(*x.shape) * x.std(),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_activations_are_not_explained_and_a_warning_says_so(
    name: str, sae: LoadedSae, kernel: Kernel
) -> None:
    quality = score(sae, kernel, WRONG[name](encoding.planted(300, encoding.dictionary())))
    assert quality.explained_variance is not None and quality.explained_variance < 0.3
    said = quality.warning(None)
    assert said is not None and "does not look like the right SAE" in said and "\n" not in said


def test_the_scores_are_those_of_their_definitions(sae: LoadedSae, kernel: Kernel) -> None:
    x = encoding.planted(100, encoding.dictionary()) + 0.3 * encoding.noise(100, encoding.D_IN)
    quality = score(sae, kernel, x)
    with torch.no_grad():
        rebuilt = sae.module(x).double()
    explained = 1 - (x - rebuilt).square().sum() / (x - x.double().mean(dim=0)).square().sum()
    cosine = torch.nn.functional.cosine_similarity(x.double(), rebuilt, dim=1).mean()
    assert quality.n_sampled == 100
    assert quality.explained_variance == pytest.approx(float(explained), abs=1e-3)
    assert quality.cosine == pytest.approx(float(cosine), abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 1500), batch=st.integers(1, 700))
def test_the_score_does_not_depend_on_the_batches(sae: LoadedSae, kernel: Kernel, n: int, batch: int) -> None:
    x = encoding.planted(n, encoding.dictionary())
    quality = score(sae, kernel, x, batch)
    assert quality == score(sae, kernel, x, max(1, n))
    assert quality.n_sampled == min(n, N_SAMPLE)


@pytest.mark.parametrize(
    ("mean_l0", "warns"), [(80.0, False), (25.0, False), (310.0, False), (12.0, True), (900.0, True)]
)
def test_an_l0_far_from_what_the_sae_was_trained_for_is_said(mean_l0: float, warns: bool) -> None:
    quality = Quality(500, mean_l0, 0.8, 0.9)
    said = quality.warning(78.0)
    assert (said is not None) == warns
    if said:
        assert f"{mean_l0:.0f} features a token" in said and "trained for 78" in said
    assert quality.warning(None) is None
    assert Quality(99, mean_l0, 0.8, 0.9).warning(78.0) is None, "too few rows to say"


def test_a_transcoder_is_judged_by_its_l0_alone(tmp_path: Path) -> None:
    module = encoding.make_module("transcoder", d_out=9, apply_b_dec_to_input=False)
    sae = encoding.load(encoding.save(module, tmp_path))
    quality = score(sae, make_kernel(sae, torch.device("cpu"), "reference"), encoding.noise(200, encoding.D_IN))
    assert quality.explained_variance is None and quality.cosine is None and quality.warning(None) is None
    assert quality.warning(1.0) is not None


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_rows_of_which_nothing_can_be_said_give_none_and_no_warning(n: int, sae: LoadedSae, kernel: Kernel) -> None:
    """Equal rows have no variance to explain."""
    quality = score(sae, kernel, torch.zeros(n, encoding.D_IN))
    assert quality.explained_variance is None and quality.warning(None) is None
    assert all(value is None or np.isfinite(value) for value in quality.document().values())


def test_equal_rows_that_the_sae_explains_are_not_warned_about(sae: LoadedSae, kernel: Kernel) -> None:
    """The same token again and again: what little varies is rounding, which nothing explains."""
    x = encoding.planted(1, encoding.dictionary()).expand(40, -1) * (1 + 1e-7 * encoding.noise(40, 1))
    assert score(sae, kernel, x).warning(None) is None


def test_a_handful_of_rows_is_scored_but_no_reason_for_a_warning(sae: LoadedSae, kernel: Kernel) -> None:
    wrong = encoding.planted(8, encoding.dictionary()).flip(1)
    assert score(sae, kernel, wrong).warning(None) is not None
    few = score(sae, kernel, wrong[:7])
    assert few.explained_variance is not None and few.warning(None) is None


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 1200), batch=st.integers(1, 700), data=st.data())
def test_rows_that_do_not_count_and_rows_of_zeros_change_no_figure(
    sae: LoadedSae, kernel: Kernel, n: int, batch: int, data: st.DataObject
) -> None:
    x = encoding.planted(n, encoding.dictionary())
    n_more = data.draw(st.integers(0, 300))
    places = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(n + n_more)
    among, counts = torch.empty(n + n_more, encoding.D_IN), np.zeros(n + n_more, np.bool_)
    own = np.sort(places[:n])
    among[torch.from_numpy(own)], counts[own] = x, True
    others = torch.from_numpy(places[n:])
    among[others] = encoding.noise(n_more, encoding.D_IN) * 500
    among[others[::3]] = 0
    counts[places[n::3]] = True  # rows of zeros that count
    assert score(sae, kernel, among, batch, counts) == score(sae, kernel, x)


def test_attention_sinks_are_told_of_and_do_not_make_the_right_sae_the_wrong_one(
    sae: LoadedSae, kernel: Kernel
) -> None:
    x = encoding.planted(256, encoding.dictionary())
    without = score(sae, kernel, x)
    sinks = encoding.noise(16, encoding.D_IN) * 80
    quality = score(sae, kernel, torch.cat([sinks, x]))
    assert quality.n_extreme == 16 and quality.n_sampled == 272
    assert quality.explained_variance == without.explained_variance and quality.cosine == without.cosine
    assert quality.explained_variance_of_all is not None and quality.explained_variance_of_all < 0.3
    assert quality.warning(None) is None and quality.warning(1.0) is None, "nor is their L0"
    assert f"{without.explained_variance:.1%}" in quality.in_words()
    assert f"{quality.explained_variance_of_all:.1%} with the 16 rows of extreme norm" in quality.in_words()
    said = quality.remark()
    assert said is not None and "16 of 272 sampled rows" in said and "--exclude-first 1" in said
    assert without.remark() is None and without.explained_variance_of_all is None


@pytest.mark.parametrize("length", [3, 64, 100, 128, 256])
def test_no_length_of_the_texts_fills_the_sample_with_their_first_tokens(
    length: int, sae: LoadedSae, kernel: Kernel
) -> None:
    x = encoding.planted(160 * length, encoding.dictionary())
    x[::length] = encoding.noise(160, encoding.D_IN) * 80
    quality = score(sae, kernel, x, 4096)
    assert abs(quality.n_extreme / quality.n_sampled - 1 / length) < 0.05
    assert quality.warning(None) is None and quality.explained_variance is not None
    assert quality.explained_variance > 0.99


@pytest.mark.parametrize("size", [0.1, 80])
def test_where_most_rows_are_noise_but_many_are_explained_well_it_is_the_right_sae(
    size: float, sae: LoadedSae, kernel: Kernel
) -> None:
    """Padding that no mask marks, of small norms, so that the others are the extreme ones, or of large norms."""
    x = torch.cat([encoding.planted(100, encoding.dictionary()), encoding.noise(200, encoding.D_IN) * size])
    quality = score(sae, kernel, x)
    assert quality.explained_variance is not None and quality.explained_variance < 0.3
    assert quality.well_explained == pytest.approx(1 / 3, abs=0.05) and quality.warning(1.0) is None
    said = quality.remark()
    assert said is not None and "of 300 sampled rows are explained well" in said and "attention_mask" in said
    wrong = torch.cat([x[:100].flip(1), x[100:]])
    assert "does not look like the right SAE" in str(score(sae, kernel, wrong).warning(None))


def test_the_wrong_activations_with_sinks_are_still_the_wrong_ones(sae: LoadedSae, kernel: Kernel) -> None:
    x = torch.cat([encoding.noise(16, encoding.D_IN) * 80, encoding.planted(256, encoding.dictionary()).flip(1)])
    said = score(sae, kernel, x).warning(None)
    assert said is not None and "does not look like the right SAE" in said
