"""A square weight matrix that is saved the other way round is refused, as its shape does not show it."""

from __future__ import annotations

from pathlib import Path

import encoding
import pytest
import torch

from encoder import load_sae
from encoder.errors import InputError


def square(d: int = 64) -> dict[str, torch.Tensor]:
    """Return an SAE with as many features as inputs, whose encoder is its decoder with noise."""
    W_dec = torch.nn.functional.normalize(encoding.noise(d, d), dim=1)
    W_enc = (W_dec + 0.05 * encoding.noise(d, d)).T
    zeros = torch.zeros(d)
    return {"W_enc": W_enc.contiguous(), "W_dec": W_dec, "b_enc": zeros, "b_dec": zeros, "threshold": zeros + 0.1}


@pytest.mark.parametrize("name", ["W_enc", "W_dec"])
def test_a_square_matrix_that_is_transposed_is_refused(tmp_path: Path, name: str) -> None:
    weights = square()
    assert load_sae(sae_path=encoding.save_params(tmp_path / "right.npz", weights)).d_sae == 64
    wrong = weights | {name: weights[name].T.contiguous()}
    with pytest.raises(InputError, match="W_enc or W_dec looks transposed"):
        load_sae(sae_path=encoding.save_params(tmp_path / "wrong.npz", wrong))


def test_an_encoder_that_has_nothing_to_do_with_its_decoder_is_no_reason_to_refuse(tmp_path: Path) -> None:
    weights = square() | {"W_enc": torch.randn(64, 64, generator=torch.Generator().manual_seed(5))}
    assert load_sae(sae_path=encoding.save_params(tmp_path / "params.npz", weights)).d_in == 64
