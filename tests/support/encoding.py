"""What the tests of the encoder share: tiny SAEs made by SAELens, activations that they explain, and the truth."""

from __future__ import annotations

import copy
import io
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
import scipy.sparse
import torch
from sae_lens import TrainingSAE
from sae_lens.registry import get_sae_class, get_sae_training_class
from safetensors.torch import save_file

import encoder.cli
from encoder.file.csr import Csr, CsrWriter
from encoder.kernels import Kernel
from encoder.options import Options
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.sae.load import load_sae
from encoder.sae.right_hook import check_hook, check_width
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard
from encoder.work.display import Quiet
from encoder.work.encode import encode_shard
from encoder.work.progress import Progress
from encoder.work.stream import Encoded, Stream, Task
from encoder.work.submit import inputs_of, tickets_of
from encoder.work.worker import Worker

D_IN, D_SAE = 48, 64


def make_module(architecture: str = "jumprelu", *, training: bool = False, seed: int = 0, **settings: Any) -> Any:
    """Make an SAE of random weights; a training SAE is one that `save_inference_model` makes another SAE of."""
    kind, config = (get_sae_training_class if training else get_sae_class)(architecture)
    settings = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu"} | settings
    with redirect_stdout(io.StringIO()):
        module: Any = kind(config(**settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
            if "threshold" in name:
                weight.abs_()
        module.W_dec /= module.W_dec.norm(dim=1, keepdim=True) * 0.5
        if training and hasattr(module, "topk_threshold"):
            module.topk_threshold.fill_(0.4)
    return module


def save(module: Any, folder: Path) -> Path:
    """Save as SAELens does, training SAEs for inference."""
    (module.save_inference_model if isinstance(module, TrainingSAE) else module.save_model)(folder)
    return folder


def dictionary(d_in: int = D_IN, d_sae: int = D_SAE, seed: int = 0, threshold: float = 5.0) -> dict[str, torch.Tensor]:
    """Return the weights of a JumpReLU SAE that explains `planted` rows: features far apart, a high threshold."""
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    return {
        "W_enc": W_dec.T.contiguous(),
        "W_dec": W_dec,
        "b_enc": torch.zeros(d_sae),
        "b_dec": torch.zeros(d_in),
        "threshold": torch.full((d_sae,), threshold),
    }


def save_params(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Write a GemmaScope params.npz."""
    np.savez(path, **{name: weight.numpy() for name, weight in weights.items()})
    return path


def planted(
    n: int, weights: dict[str, torch.Tensor], seed: int = 1, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return rows of one feature each, of different sizes: what a dictionary explains well."""
    generator = torch.Generator().manual_seed(seed)
    d_sae = len(weights["W_dec"])
    chosen = torch.randint(0, d_sae, (n,), generator=generator)
    sizes = torch.rand(n, 1, generator=generator) * 4 + 6
    noise = torch.randn(n, weights["W_dec"].shape[1], generator=generator) * 0.01
    return (sizes * weights["W_dec"][chosen] + noise).to(dtype)


def noise(*shape: int, seed: int = 10) -> torch.Tensor:
    """Return normal numbers that no SAE explains, the same ones in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def truth(sae: LoadedSae, x: torch.Tensor) -> torch.Tensor:
    """Return the features [T, F] in float64 as SAELens computes them.

    SAELens' own preprocessing in float32 comes first where the SAE has a rule; the fallback does all in float64.
    """
    module = copy.deepcopy(sae.module).to(dtype=torch.float64)
    if sae.rule is None:
        return module.encode(sae.flat(x))  # type: ignore[no-any-return]
    prepared = sae.module.process_sae_in(sae.flat(x))
    module.run_time_activation_norm_fn_in = module.reshape_fn_in = lambda x: x
    module.cfg.apply_b_dec_to_input = False
    return module.encode(prepared)  # type: ignore[no-any-return]


def dense(csr: Csr) -> np.ndarray[Any, Any]:
    return scipy.sparse.csr_matrix((csr.data, csr.indices, csr.indptr), shape=csr.shape).toarray()


def read(path: Path) -> scipy.sparse.csr_matrix:
    return scipy.sparse.load_npz(path)


def meta(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as members:
        document = json.loads(members["meta"].tobytes())
    assert isinstance(document, dict)
    return document


class Ended(command.Ended):
    """How `sae-encode` ended."""

    def refused(self, *words: str, status: int = 2) -> None:
        """It ended with `status` and one line on stderr that has these words."""
        assert (self.status, self.out) == (status, ""), self
        assert self.err.startswith("sae-encode: ") and self.err.count("\n") == 1 and "Traceback" not in self.err, self
        for word in words:
            assert word in self.err, self


def encode_one(
    shard: Shard, sae: LoadedSae, kernel: Kernel, writer: CsrWriter, *, select: dict[str, Any] | None = None, **how: Any
) -> Encoded:
    """Encode a shard with one SAE, and raise what is wrong with it."""
    check_width(shard, sae.d_in)
    task = Task(sae, kernel, writer, check_hook(shard, sae.hook_name, sae.model_name, select or {}))
    usual = {"batch_tokens": 4096, "settings": {}, "status": shard.path.stat(), "stopping": bool}
    usual |= {"watch": lambda progress: None}
    encode_shard([Stream(shard, [task])], **usual | how)
    if task.error is not None:
        raise task.error
    assert task.encoded is not None
    return task.encoded


Command = Callable[..., Ended]


def command_of(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return `sae-encode` as a function of its arguments, in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["sae-encode", *map(str, arguments)])
        capfd.readouterr()
        status: Any = 0
        try:
            encoder.cli.main()
        except SystemExit as exc:
            status = exc.code
        out, err = capfd.readouterr()
        return Ended(status or 0, out, err)

    return run


def load(path: Path) -> LoadedSae:
    return load_sae(sae_path=path)


def only(found: Iterable[Any]) -> Any:
    (one,) = found
    return one


class Heard(Quiet):
    """A display that keeps what it is told, and calls `after_batch` as batches go by."""

    def __init__(self, after_batch: Callable[[], None] = lambda: None) -> None:
        self.lines: list[str] = []
        self._after_batch = after_batch

    def advance(self, job: str, progress: Progress) -> None:
        self._after_batch()

    def end(self, job: str, line: str, did: object) -> None:
        self.lines.append(f"{job}: {line}")

    def say(self, line: str) -> None:
        self.lines.append(line)

    def said(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.lines)


class Site:
    """A folder with shards, an SAE that explains them, a queue and its results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.acts, self.root, self.out = folder, folder / "acts", folder / "queue", folder / "out"
        self.acts.mkdir()
        self.weights = dictionary()
        self.params = save_params(folder / "params.npz", self.weights)
        self.sae = {"sae_release": None, "sae_id": None, "sae_path": str(self.params)}

    def shard(self, name: str, n: int = 30, seed: int = 1, dtype: torch.dtype = torch.float32) -> Path:
        return self.keep(name, planted(n, self.weights, seed, dtype))

    def keep(self, name: str, rows: torch.Tensor) -> Path:
        path = self.acts / f"{name}.safetensors"
        save_file({"x": rows.contiguous()}, path)
        return path

    def tickets(self, sae: dict[str, Any] | None = None, out: Path | None = None) -> list[Ticket]:
        return tickets_of(inputs_of([self.acts]), out or self.out, sae or self.sae, {})

    def queue(self, **settings: Any) -> Queue:
        return Queue(self.root, create=True, **settings)

    def submit(self, **ticket: Any) -> None:
        self.queue().submit(self.tickets(**ticket), again=True)

    def work(self, heard: Heard | None = None, queue: Queue | None = None, **options: Any) -> tuple[Worker, Heard]:
        heard = heard or Heard()
        worker = Worker(queue or self.queue(), Options(**options), heard)
        worker.run()
        return worker, heard

    def encode(self, heard: Heard | None = None, **options: Any) -> tuple[Worker, Heard]:
        """Submit what is in `acts` and work until it is finished."""
        self.submit()
        return self.work(heard, **options)

    def results(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.out.iterdir()) if path.name[0] != "_"}

    def failed(self, job: str) -> Ticket:
        ticket = self.queue().ticket("failed", job)
        assert ticket is not None, self.queue().states()
        return ticket


def gemma_scope(folder: Path, d_sae: int = 16384) -> None:
    """Write a params.npz of the true shape, small in bytes: of each feature's 2,304 weights, 16 are not zero."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = dictionary(16, d_sae)
    W_enc = np.zeros((2304, d_sae), np.float32)
    W_enc[:16] = weights["W_enc"].numpy()
    np.savez_compressed(
        folder / "params.npz",
        W_enc=W_enc,
        W_dec=np.ascontiguousarray(W_enc.T),
        b_enc=np.zeros(d_sae, np.float32),
        b_dec=np.zeros(2304, np.float32),
        threshold=np.full(d_sae, 4, np.float32),
    )
