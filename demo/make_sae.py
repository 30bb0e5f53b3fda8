"""Train the demo's SAE and find what its features fire on: `python -m demo.make_sae`.

Training takes 10 to 20 minutes on two cores, too long for somebody who waits for the demo. So the files that it writes,
which `published` describes, are kept in the repository, the weights in float16. Shapes: T tokens, D d_in.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import torch
from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file

from demo.hidden_states import LAYER, MODEL, D, Transformer
from demo.published import D_SAE, FEATURES, HUB, NEURONPEDIA_ID, SAE_ID, write_features
from demo.study import Studied, study
from demo.texts import Text, studied_texts

K = 24
"""Features active on a token, on average."""
BATCH_TOKENS = 1024
LEARNING_RATE = 1e-3


def train(x: torch.Tensor, n_samples: int) -> None:
    """Train on rows [T, D], each of them drawn several times; write the SAE for inference, its weights in float16."""
    torch.manual_seed(0)
    module = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(d_in=D, d_sae=D_SAE, k=K, device="cpu", dtype="float32", aux_loss_coefficient=1 / 32)
    )
    module.b_dec.data.copy_(x.float().mean(dim=0))
    module.cfg.metadata.model_name = MODEL
    module.cfg.metadata.hook_name = f"encoder.layer.{LAYER - 1}.output"
    module.cfg.metadata.neuronpedia_id = NEURONPEDIA_ID
    n_steps = n_samples // BATCH_TOKENS
    settings = SAETrainerConfig(
        total_training_samples=n_samples,
        train_batch_size_samples=BATCH_TOKENS,
        lr=LEARNING_RATE,
        lr_end=LEARNING_RATE / 10,
        lr_warm_up_steps=n_steps // 20,
        lr_decay_steps=n_steps // 3,
        dead_feature_window=max(20, n_steps // 10),
        feature_sampling_window=n_samples,
        device="cpu",
        autocast=True,
    )
    SAETrainer(settings, module, _batches(x)).fit()
    folder = HUB / SAE_ID
    folder.mkdir(parents=True, exist_ok=True)
    module.save_inference_model(folder)
    weights = folder / "sae_weights.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights)


def _batches(x: torch.Tensor) -> Iterator[torch.Tensor]:
    while True:
        order = torch.randperm(len(x))
        for at in range(0, len(x) - BATCH_TOKENS + 1, BATCH_TOKENS):
            yield x[order[at : at + BATCH_TOKENS]].float()


def read(texts: Sequence[Text]) -> tuple[torch.Tensor, list[Studied]]:
    """Return the hidden states of the texts, rows [T, D] in float16, and the place of each text in them."""
    parts: list[torch.Tensor] = []
    studied: list[Studied] = []
    n_rows = 0
    for text, (prompt, response) in zip(texts, Transformer().read(texts), strict=True):
        studied.append(Studied(text.book, [*prompt.tokens, *response.tokens], n_rows))
        parts += [prompt.states.half(), response.states.half()]
        n_rows += len(studied[-1].tokens)
    return torch.cat(parts), studied


def main() -> None:
    """Read, train, study, and write both files."""
    parser = argparse.ArgumentParser(prog="python -m demo.make_sae", description=__doc__)
    parser.add_argument("--samples", type=int, default=2_000_000, help="tokens to train on, seen several times each")
    parser.add_argument("--keep", action="store_true", help="do not train; study the SAE that is there")
    arguments = parser.parse_args()
    texts = sorted(studied_texts(), key=lambda text: len(text.prompt + text.response))  # equal lengths need no padding
    x, studied = read(texts)
    print(f"{len(texts):,} texts, {len(x):,} tokens", flush=True)
    if not arguments.keep:
        train(x, arguments.samples)
    write_features(FEATURES, study(SAE.load_from_disk(HUB / SAE_ID), x, studied))


if __name__ == "__main__":
    main()
