"""The GPU kernels equal the float64 truth: in Triton's interpreter, and compiled where `pytest -m gpu` finds a GPU.

Fresh memory is poisoned: torch fills what `torch.empty` returns with NaN and the largest integer, and the rows stand
between rows of NaN. conftest.py says how the interpreter is chosen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
import torch
from exact_truth import exact_truth
from kernel_cases import assert_equal_bytes, assert_same, hard_rows, make_sae, random_sae

from encoder.errors import InputError
from encoder.file.csr import Csr
from encoder.kernels import make_kernel
from encoder.kernels.gpu.tiled import TiledKernel
from encoder.kernels.gpu.torch_kernel import TorchKernel
from encoder.kernels.gpu.transfer import DeviceCsr
from encoder.kernels.gpu.triton_candidates import bounds, expand
from encoder.kernels.gpu.triton_kernel import TritonKernel
from encoder.kernels.gpu.triton_screen import Blocks, group_size
from encoder.kernels.reference import ReferenceKernel
from encoder.sae.sae import LoadedSae

GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="needs an NVIDIA GPU"),
    pytest.mark.skipif("config.getoption('markexpr') != 'gpu'", reason="Triton is interpreted; use pytest -m gpu"),
]
DEVICES = [
    pytest.param(torch.device("cpu"), marks=pytest.mark.skipif("config.getoption('markexpr') == 'gpu'")),
    pytest.param(torch.device("cuda"), marks=GPU),
]
SMALL = Blocks(tokens=32, features=64, inputs=32, sharing=2, warps=4, pairs=128, rows=32)
RULES = [
    pytest.param(None, False, id="jumprelu"),
    pytest.param(5, False, id="topk"),
    pytest.param(40, True, id="topk-scaled"),
]


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def _kernels(sae: LoadedSae, device: torch.device) -> list[TiledKernel]:
    screens = [TritonKernel(sae, device, blocks=SMALL, screen=screen) for screen in ("fp16", "int8")]
    return [*screens, TorchKernel(sae, device)]


def _encode(kernel: TiledKernel, x: torch.Tensor) -> Csr:
    """Encode rows that stand between rows of NaN."""
    T, D = x.shape
    around = torch.full((T + 6, D), torch.nan, dtype=x.dtype)
    around[3 : T + 3] = x
    on_device = around.to(kernel.device)[3 : T + 3]
    if T == 0:
        return kernel.encode(x)
    tile = kernel.encode_tile(on_device.float())
    return Csr(*(tensor.cpu().numpy() for tensor in tile), (T, kernel.sae.d_sae))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("k", "scaled"), RULES)
@pytest.mark.parametrize(("n_rows", "d_in", "d_sae"), [(0, 40, 96), (1, 7, 33), (63, 40, 200), (64, 64, 128)])
def test_odd_shapes_equal_the_truth(
    n_rows: int, d_in: int, d_sae: int, k: int | None, scaled: bool, device: torch.device
) -> None:
    sae = random_sae(d_in, d_sae, k=k, scaled=scaled, seed=n_rows)
    x = torch.randn(n_rows, d_in, generator=torch.Generator().manual_seed(1)) * 2
    truth = ReferenceKernel(sae).encode(x)
    for kernel in _kernels(sae, device):
        assert_same(_encode(kernel, x), truth)


@pytest.mark.parametrize("device", DEVICES)
def test_more_rows_than_a_block_equal_the_truth_in_every_split(device: torch.device) -> None:
    sae = random_sae(48, 100, seed=3)
    x = (torch.randn(130, 48, generator=torch.Generator().manual_seed(2)) * 2).bfloat16()
    truth = ReferenceKernel(sae).encode(x)
    for kernel in _kernels(sae, device):
        whole = kernel.encode(x)
        assert_same(whole, truth)
        kernel.tile_tokens = 100
        assert_equal_bytes(kernel.encode(x), whole)
        parts = [kernel.stage(some) for some in (x[:1], x[1:65], x[65:])]
        assert_equal_bytes(Csr.concatenate([part() for part in parts], sae.d_sae), whole)


@pytest.mark.parametrize("device", DEVICES)
def test_no_bytes_depend_on_the_blocks_or_the_screen(device: torch.device) -> None:
    sae = random_sae(48, 300, seed=4)
    x = torch.randn(20, 48, generator=torch.Generator().manual_seed(2)) * 2
    first = TritonKernel(sae, device, blocks=SMALL).encode(x)
    for screen in ("fp16", "int8"):
        for blocks in (Blocks(pairs=SMALL.pairs), Blocks(16, 32, 16, 1, warps=4, pairs=SMALL.pairs, rows=4)):
            assert_equal_bytes(TritonKernel(sae, device, blocks=blocks, screen=screen).encode(x), first)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("k", "scaled"), RULES)
def test_hard_rows_equal_the_truth(k: int | None, scaled: bool, device: torch.device) -> None:
    sae = random_sae(70, 130, k=k, scaled=scaled, seed=5)
    x = hard_rows(70)
    truth = exact_truth(sae, x)
    for kernel in _kernels(sae, device):
        assert_same(_encode(kernel, x), truth)


@pytest.mark.parametrize("device", DEVICES)
def test_what_float64_cannot_tell_is_decided_as_on_the_cpu(device: torch.device) -> None:
    W_enc = torch.tensor([[2.0**30, 2.0**30], [1.0, 1.0], [-(2.0**30), -(2.0**30)]])
    x = torch.tensor([[2.0**30, 2.0**-12, 2.0**30], [2.0**30, -(2.0**-12), 2.0**30], [2.0**30, 0.0, 2.0**30]])
    sae = make_sae(W_enc, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    for kernel in _kernels(sae, device):
        found = _encode(kernel, x)
        assert found.indptr.tolist() == [0, 2, 2, 2]
        assert found.data.tolist() == [2.0**-12, 1 + 2.0**-12]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scaled", [False, True])
def test_of_k_that_float64_cannot_tell_apart_the_largest_are_chosen(scaled: bool, device: torch.device) -> None:
    W_enc = torch.full((3, 40), 2.0**30)
    W_enc[1], W_enc[2] = torch.randperm(40, generator=torch.Generator().manual_seed(8)) - 20.0, -(2.0**30)
    x = torch.tensor([[2.0**30, 2.0**-30, 2.0**30], [2.0**30, 0.0, 2.0**30], [0.0, 1.0, 0.0]])
    scale = torch.full((40,), 0.5) if scaled else None
    sae = make_sae(W_enc, torch.zeros(40), scale=scale, k=5)
    truth = exact_truth(sae, x)
    assert truth.indptr.tolist() == [0, 5, 5, 10]
    for kernel in _kernels(sae, device):
        assert_same(_encode(kernel, x), truth)


@pytest.mark.parametrize("device", DEVICES)
def test_ties_at_the_threshold_within_one_unit_equal_the_truth(device: torch.device) -> None:
    made = torch.Generator().manual_seed(6)
    W_enc = torch.randint(-8, 9, (40, 99), generator=made).float()
    x = torch.randint(-8, 9, (9, 40), generator=made).float()
    h = (x @ W_enc)[torch.arange(99) % 9, torch.arange(99)]  # feature j ties in row j % 9
    h, b_enc = h.abs() + 1, h.abs() + 1 - h
    above, below = (torch.nextafter(h, torch.tensor(to)) for to in (torch.inf, 0.0))
    threshold = torch.stack([above, h, below])[torch.arange(99) // 9 % 3, torch.arange(99)]
    sae = make_sae(W_enc, b_enc, threshold)
    truth = ReferenceKernel(sae).encode(x)
    tied = [j in truth.indices[truth.indptr[j % 9] : truth.indptr[j % 9 + 1]] for j in range(99)]
    assert tied == [j // 9 % 3 == 2 for j in range(99)]
    for kernel in _kernels(sae, device):
        assert_same(_encode(kernel, x), truth)


@pytest.mark.parametrize("device", DEVICES)
def test_features_that_are_just_active_are_found(device: torch.device) -> None:
    """Thresholds lie less than a unit below h, so that about half would be lost to a product's rounding."""
    made = torch.Generator().manual_seed(12)
    W_enc, x = torch.rand(70, 130, generator=made), torch.rand(10, 70, generator=made)
    h = (x.double() @ W_enc.double())[torch.arange(130) % 10, torch.arange(130)]
    threshold = h.float()
    threshold = torch.where(threshold.double() >= h, torch.nextafter(threshold, torch.tensor(0.0)), threshold)
    sae = make_sae(W_enc, torch.zeros(130), threshold)
    truth = ReferenceKernel(sae).encode(x)
    assert all(j in truth.indices[truth.indptr[j % 10] : truth.indptr[j % 10 + 1]] for j in range(130))
    for kernel in _kernels(sae, device):
        assert_same(_encode(kernel, x), truth)


@pytest.mark.parametrize("device", DEVICES)
def test_sums_that_overflow_and_values_that_underflow_float32_are_found(device: torch.device) -> None:
    """Row 0 is 3e38, though float32 passes -6e38 on the way; row 1 is 1e-60, whose float32 must not be 0."""
    W_enc = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0])[:, None].repeat(1, 40)
    W_enc[:, 1] = 1e-30
    sae = make_sae(W_enc, torch.zeros(40))
    x = torch.stack([torch.full((5,), 3e38), torch.tensor([0.0, 0.0, 1e-30, 0.0, 0.0])])
    truth = ReferenceKernel(sae).encode(x)
    assert truth.indptr.tolist() == [0, 40, 80] and truth.data[41] > 0
    for kernel in _kernels(sae, device):
        assert_same(_encode(kernel, x), truth)


@pytest.mark.parametrize("device", DEVICES)
def test_of_equal_features_the_first_are_among_the_k(device: torch.device) -> None:
    W_enc = torch.ones(8, 70)
    W_enc[:, 50] = 2.0
    sae = make_sae(W_enc, torch.zeros(70), k=6)
    x = torch.stack([torch.ones(8), -torch.ones(8), torch.zeros(8)])
    for kernel in _kernels(sae, device):
        found = _encode(kernel, x)
        assert found.indices.tolist() == [0, 1, 2, 3, 4, 50]
        assert found.indptr.tolist() == [0, 6, 6, 6]


@pytest.mark.parametrize("device", DEVICES)
def test_candidates_are_few_and_hold_every_active_feature(device: torch.device) -> None:
    made = torch.Generator().manual_seed(7)
    W_enc, x = torch.randn(128, 256, generator=made) / 128**0.5, torch.randn(64, 128, generator=made)
    for k in (None, 8):
        sae = make_sae(W_enc, torch.zeros(256), None if k else torch.full((256,), 1.5), k=k)
        kernel = TritonKernel(sae, device, blocks=SMALL)
        n_candidates = len(kernel.candidates(x.to(device))[2])
        n_active = len(ReferenceKernel(sae).encode(x).indices)
        assert n_active <= n_candidates <= 1.2 * n_active


@pytest.mark.parametrize("device", DEVICES)
def test_massive_inputs_are_no_part_of_the_int8_product_and_let_nothing_more_through(device: torch.device) -> None:
    made = torch.Generator().manual_seed(13)
    W_enc, x = torch.randn(256, 200, generator=made) / 16, torch.randn(64, 256, generator=made)
    W_enc[[3, 70]] /= 500  # as trained SAEs have it: a massive input does not decide everything
    x[:, 3], x[:, 70] = x[:, 3] + 500, x[:, 70] * 300
    sae = make_sae(W_enc, torch.zeros(200), torch.full((200,), 1.5))
    truth = exact_truth(sae, x)
    kernel = TritonKernel(sae, device, blocks=SMALL, screen="int8")
    assert_same(kernel.encode(x), truth)
    n_candidates = len(kernel.candidates(x.to(device))[2])
    assert kernel._int8 is not None and kernel._int8.massive.tolist() == [3, 70]
    assert len(truth.indices) <= n_candidates <= 2 * len(truth.indices)


@pytest.mark.parametrize("screen", ["fp16", "int8"])
@pytest.mark.parametrize("device", DEVICES)
def test_rows_of_zeros_cost_nothing(device: torch.device, screen: str) -> None:
    sae = make_sae(torch.randn(16, 64, generator=torch.Generator().manual_seed(8)), torch.zeros(64))
    kernel = TritonKernel(sae, device, blocks=SMALL, screen=screen)
    assert len(kernel.candidates(torch.zeros(3, 16, device=device))[2]) == 0


@pytest.mark.parametrize("screen", ["fp16", "int8"])
@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_finite_rules_nothing_out(device: torch.device, screen: str) -> None:
    sae = random_sae(16, 70, seed=9)
    x = torch.ones(4, 16)
    x[0, 3], x[1, 5], x[2, 7] = torch.inf, torch.nan, -torch.inf
    indptr = TritonKernel(sae, device, blocks=SMALL, screen=screen).candidates(x.to(device))[0]
    assert indptr[:4].tolist() == [0, 70, 140, 210]


@pytest.mark.parametrize("device", DEVICES)
def test_a_mask_is_unpacked_in_order(device: torch.device) -> None:
    made = torch.Generator().manual_seed(10)
    mask = torch.randint(-(2**31), 2**31, (5, 130), generator=made, dtype=torch.int64).to(torch.int32)
    mask[1], mask[2], mask[3, 7] = 0, -1, -(2**31)
    bits = (mask[:, :, None] >> torch.arange(32) & 1).reshape(5, -1).bool()
    mask = mask.to(device)
    indptr = bounds(mask, 4)
    rows, columns = expand(mask, indptr, int(indptr[-1]), 4)
    assert indptr.tolist() == [0, *bits.sum(dim=1).cumsum(0).tolist()]
    assert torch.equal(torch.stack([rows, columns], 1).long().cpu(), bits.nonzero())


def test_groups_leave_room_for_k_winners() -> None:
    assert [group_size(16_384, k) for k in (1, 64, 128, 129, 4096, 16_384)] == [32, 32, 32, 16, 1, 1]


class _Cramped(TiledKernel):
    """Has memory for 10 rows; row t has one feature, 0, whose value is its only input."""

    name = "cramped"

    def encode_tile(self, x: torch.Tensor) -> DeviceCsr:
        if len(x) > 10:
            raise torch.OutOfMemoryError
        return DeviceCsr(torch.arange(len(x) + 1), torch.zeros(len(x), dtype=torch.int32), x[:, 0].clone())


def test_out_of_memory_halves_the_tile_and_goes_on() -> None:
    kernel = _Cramped(make_sae(torch.ones(1, 4), torch.zeros(4)), torch.device("cpu"), 64)
    found = kernel.encode(torch.arange(1.0, 34.0)[:, None])
    assert found.data.tolist() == list(range(1, 34)) and found.indptr.tolist() == list(range(34))
    assert kernel.tile_tokens == 9
    assert [note.split(": ")[1] for note in kernel.notes] == [f"tiles of {n} rows from here on" for n in (17, 9)]


def test_out_of_memory_for_one_row_is_an_error() -> None:
    class Never(_Cramped):
        def encode_tile(self, x: torch.Tensor) -> DeviceCsr:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        Never(make_sae(torch.ones(1, 4), torch.zeros(4)), torch.device("cpu"), 8).encode(torch.ones(3, 1))


@pytest.mark.parametrize("interpreted", [True, False])
def test_triton_by_name_is_triton_or_an_error(interpreted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1" if interpreted else "0")
    sae = random_sae(16, 64)
    if interpreted:
        kernel = make_kernel(sae, torch.device("cpu"), "triton")
        assert (kernel.name, kernel.reason) == ("triton", "--backend triton")
    else:
        with pytest.raises(InputError, match="--backend triton: it needs a CUDA device, and --device is cpu"):
            make_kernel(sae, torch.device("cpu"), "triton")
    auto = make_kernel(sae, torch.device("cpu"), "auto")
    assert auto.name == "cpu"
    assert re.fullmatch(r"the device is the CPU; screen in (int8|bf16|fp32), measured: .+", auto.reason)


@pytest.mark.parametrize("device", [torch.device("cuda")])
@pytest.mark.parametrize("marked", [pytest.param(None, marks=GPU)])
def test_auto_on_an_nvidia_gpu_is_triton(marked: None, device: torch.device) -> None:
    kernel = make_kernel(random_sae(16, 64), device, "auto")
    assert kernel.name == "triton" and kernel.reason.startswith(
        "an NVIDIA GPU, and Triton is installed; screen in fp16"
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("dtype", [pytest.param(dtype, marks=GPU) for dtype in (torch.bfloat16, torch.float32)])
@pytest.mark.parametrize("k", [None, 64])
def test_a_hundred_million_pairs_on_a_gpu_equal_the_truth(k: int | None, dtype: torch.dtype) -> None:
    made = torch.Generator().manual_seed(11)
    W_enc = torch.randn(2304, 16_384, generator=made) / 48
    sae = make_sae(W_enc, torch.zeros(16_384), None if k else torch.full((16_384,), 2.5), k=k)
    x = torch.randn(6200, 2304, generator=made)
    x[:, 7] *= 100  # a massive dimension
    x = x.to(dtype)
    truth = Csr.concatenate([ReferenceKernel(sae).encode(some) for some in x.split(500)], sae.d_sae)
    screens = [TritonKernel(sae, torch.device("cuda"), screen=screen) for screen in ("fp16", "int8", None)]
    for kernel in (*screens, TorchKernel(sae, torch.device("cuda"))):
        found = kernel.encode(x)
        assert_same(found, truth)
        kernel.tile_tokens = 1000
        assert_equal_bytes(kernel.encode(x), found)
