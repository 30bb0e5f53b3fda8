"""Which features are active, by fractions: slow, and obviously right."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from encoder.file.csr import Csr
from encoder.sae.sae import LoadedSae


def exact_truth(sae: LoadedSae, x: torch.Tensor) -> Csr:
    """Encode x [T, D]: float64 decides what it decides with 10 times its error to spare, fractions the rest."""
    rule = sae.rule
    assert rule is not None
    rows, W_enc, b_enc = x.double().numpy(), rule.W_enc.double().numpy(), rule.b_enc.double().numpy()
    scale = np.ones(len(b_enc)) if rule.scale is None else rule.scale.double().numpy()
    threshold = rule.threshold.double().numpy()
    h = (rows @ W_enc + b_enc) * scale
    doubt = 1e-13 * rows.shape[1] * (np.abs(rows) @ np.abs(W_enc) + np.abs(b_enc)) * scale + 1e-300
    indptr, indices, values = [0], [], []
    for t in range(len(rows)):

        def exact(j: int, t: int = t) -> Fraction:
            products = (Fraction(a) * Fraction(b) for a, b in zip(rows[t], W_enc[:, j], strict=True))
            return (sum(products, Fraction(b_enc[j]))) * Fraction(scale[j])

        likely = np.flatnonzero(h[t] >= threshold - doubt[t]).tolist()
        if rule.k is not None and len(likely) > rule.k:
            least = np.sort(h[t])[-rule.k] if rule.k else np.inf
            likely = [j for j in likely if h[t, j] >= least - 2 * doubt[t].max()]
        known = {j: exact(j) if rule.k is not None or h[t, j] <= threshold[j] + doubt[t, j] else None for j in likely}
        active = [j for j in likely if (value := known[j]) is None or value > Fraction(threshold[j])]
        if rule.k is not None:
            active = sorted(sorted(active, key=lambda j: (-(known[j] or 0), j))[: rule.k])
        indices += active
        values += [h[t, j] if known[j] is None else float(known[j] or 0) for j in active]
        indptr.append(len(indices))
    kept = np.asarray(values, np.float64)
    return Csr.of_kept(
        np.asarray(indptr), np.asarray(indices, np.int32), kept, np.ones(len(kept), np.bool_), len(b_enc)
    )
