"""A made-up SAE in GemmaScope's shape and file, and made-up activations of a text.

There is no Gemma here, so its activations are composed: each token's vector is a sum of the decoder's directions of the
features whose label names the token's word, of some that fire at random, and of noise. What the encoder finds in them
is then known, and the labels fit. Shapes: D = d_in, F = d_sae, T tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from saefetch import Labels

D, F = 2304, 16_384
N_RANDOM = 70
"""Features that fire at random on each token."""
WEAK, STRONG = 10.0, 16.0
"""Between which values a feature fires; the thresholds lie between 7 and 9, and cross-talk has a deviation of 2."""
TEXT = (
    "The dogs slept while legal proceedings on cryptography went on and the weather was reported in HTML tags ; "
    "cooking for sports teams , marine animals and vehicles came next , and a negation followed ."
)


def write_params(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write a params.npz as GemmaScope's; return its decoder: W_dec [F, D], b_dec [D]."""
    random = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(F, D, generator=random), dim=1)
    b_dec = torch.randn(D, generator=random)
    arrays: dict[str, Any] = {
        "W_enc": W_dec.T.contiguous(),
        "W_dec": W_dec,
        "b_enc": -(W_dec @ b_dec),  # so that the mean activation, which is b_dec, makes nothing fire
        "b_dec": b_dec,
        "threshold": 7 + 2 * torch.rand(F, generator=random),
    }
    path.parent.mkdir(parents=True)
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    return W_dec, b_dec


def write_shards(folder: Path, decoder: tuple[torch.Tensor, torch.Tensor], labels: Labels, n_tokens: int) -> None:
    """Write shards of three formats, of `n_tokens` rows each; the captured prompt has tokens as well."""
    folder.mkdir(parents=True)
    W_dec, _ = decoder
    random = torch.Generator().manual_seed(1)
    words = TEXT.split()
    named = {word: [hit.index for hit in labels.search(word, limit=4)] for word in set(words) if len(word) > 3}

    def rows(tokens: list[str]) -> torch.Tensor:
        x = random_rows(decoder, len(tokens), random)
        for t, token in enumerate(tokens):
            x[t] += 2 * STRONG * W_dec[named.get(token, [])].sum(dim=0)  # so these are the strongest
        return x

    def tokens(n: int) -> list[str]:
        return (words * (n // len(words) + 1))[:n]

    np.save(folder / "numpy.npy", rows(tokens(n_tokens)).view(-1, 128, D).numpy())
    save_file({"acts": rows(tokens(n_tokens)).bfloat16()}, folder / "safetensors.safetensors")
    capture = {}
    for section, n in (("prompt", len(words)), ("response", n_tokens - len(words))):
        text = tokens(n)
        capture[section] = {
            "text": " ".join(text),
            "tokens": text,
            "token_ids": [words.index(word) for word in text],
            "activations": {16: {"residual": rows(text).bfloat16()}},
        }
    torch.save(capture, folder / "capture.pt")


def random_rows(
    decoder: tuple[torch.Tensor, torch.Tensor], n_tokens: int, random: torch.Generator, n_active: int = N_RANDOM
) -> torch.Tensor:
    """Compose rows [T, D] of `n_active` features each, drawn at random, and noise."""
    W_dec, b_dec = decoder
    features = torch.randint(len(W_dec), (n_tokens, n_active), generator=random)
    values = WEAK + (STRONG - WEAK) * torch.rand(features.shape, generator=random) ** 3
    sums = torch.nn.functional.embedding_bag(features, W_dec, mode="sum", per_sample_weights=values)
    return sums + b_dec + torch.randn(sums.shape, generator=random) * 0.5
