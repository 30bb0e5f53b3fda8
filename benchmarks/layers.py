"""How often does the match of densities tell a layer from the others? Measured on the demo's transformer and SAE.

    python -m benchmarks.layers

The demo's SAE was trained on the states after block 3 of 6, and its labels say how often each feature fires. Here its
texts are read, the states after every block are encoded with that SAE, and the match is taken of random sets of texts.
"""

from __future__ import annotations

import gzip
import json

import numpy as np
import torch

import encoder
from demo.hidden_states import LAYER, Transformer
from demo.published import D_SAE, FEATURES, HUB, SAE_ID
from demo.texts import shown_texts
from encoder.arrays import I64
from encoder.labelled.density import ALIKE, match_of

LAYERS = range(1, 7)
N_DRAWS = 200


def counts_of(layer: int) -> tuple[I64, I64, float]:
    """Return each text's counts by feature [n, F], the texts' tokens [n], and the variance that the SAE explains."""
    sae = encoder.load_sae(sae_path=HUB / SAE_ID)
    texts = [torch.cat([a.states, b.states]) for a, b in Transformer(layer).read(shown_texts())]
    x, lengths = torch.cat(texts).half().float(), np.array([len(text) for text in texts])
    found = encoder.encode(x, sae)
    rebuilt = torch.from_numpy(found @ sae.module.W_dec.numpy() + sae.module.b_dec.numpy())
    explained = 1 - (x - rebuilt).square().sum() / (x - x.mean(dim=0)).square().sum()
    parts = np.split(found.indices, found.indptr[np.cumsum(lengths)[:-1]])
    return np.array([np.bincount(part, minlength=D_SAE) for part in parts]), lengths, float(explained)


def main() -> None:
    with gzip.open(FEATURES, "rt", encoding="utf-8") as lines:
        published = np.array([json.loads(line)["frac_nonzero"] for line in lines])
    read = {layer: counts_of(layer) for layer in LAYERS}
    lengths, random = read[LAYER][1], np.random.default_rng(0)
    print("| texts | tokens | " + " | ".join(f"block {layer}" for layer in LAYERS) + f" | {LAYER} is largest |")
    print("|---|---|" + "---|" * (len(LAYERS) + 1))
    explained = " | ".join(f"{read[layer][2]:.0%}" for layer in LAYERS)
    print(f"| variance explained | | {explained} | |")
    for n_texts in (8, 16, 32, 64):
        drawn = [random.choice(len(lengths), n_texts, replace=False) for _ in range(N_DRAWS)]
        found = {
            layer: np.array([match_of(counts[some].reshape(2, -1, D_SAE).sum(axis=1), published) for some in drawn])
            for layer, (counts, _, _) in read.items()
        }
        shown = " | ".join(f"{v.mean():.3f}, {(v >= ALIKE).mean():.0%} ≥ {ALIKE}" for v in found.values())
        largest = (np.argmax([found[layer] for layer in LAYERS], axis=0) + 1 == LAYER).mean()
        print(f"| {n_texts} | {lengths.mean() * n_texts:,.0f} | {shown} | {largest:.0%} |")


if __name__ == "__main__":
    main()
