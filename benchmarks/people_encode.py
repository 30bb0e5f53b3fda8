"""How people turn activations into sparse features today, as a script to be measured.

`sae.encode` of SAELens in float32 a batch at a time, the dense array to `scipy.sparse.csr_matrix`, one `save_npz` at
the end. Prints a JSON object; its seconds are without loading torch and the SAE.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy.sparse import csr_matrix, save_npz, vstack

from encoder.sae.load import load_sae

BATCH = 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--acts", type=Path, required=True)
    parser.add_argument("--sae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sae = load_sae(sae_path=args.sae).module
    began = time.perf_counter()
    (x,) = load_file(args.acts).values()
    with torch.no_grad():
        parts = [csr_matrix(sae.encode(x[start : start + BATCH].float()).numpy()) for start in range(0, len(x), BATCH)]
    features = vstack(parts, format="csr")
    save_npz(args.out, features, compressed=False)
    print(json.dumps({"rows": len(x), "nnz": int(features.nnz), "encoding_s": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
