"""`encoder.encode`: every kind of array in memory becomes the features that a file of it becomes, or is refused."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch

import encoder
from encoder.sae.sae import LoadedSae

N = 30
Make = Callable[[torch.Tensor], Any]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sae") / "params.npz"
    return encoding.save_params(path, encoding.dictionary(threshold=1.0))


@pytest.fixture(scope="module")
def sae(params: Path) -> LoadedSae:
    return encoding.load(params)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(N, encoding.D_IN, generator=torch.Generator().manual_seed(3))


def assert_exact(found: Any, sae: LoadedSae, x: torch.Tensor) -> None:
    expected = encoding.truth(sae, x)
    np.testing.assert_array_equal(found.toarray() != 0, (expected != 0).numpy())
    np.testing.assert_array_max_ulp(found.toarray(), expected.float().numpy(), maxulp=1)


def a_read_only_array(x: torch.Tensor) -> Any:
    return np.frombuffer(x.numpy().tobytes(), np.float32).reshape(x.shape)


def an_unaligned_array(x: torch.Tensor) -> Any:
    record = np.zeros(x.shape, np.dtype([("flag", "u1"), ("value", "<f4")]))
    record["value"] = x.numpy()
    return record["value"]


def a_negated_view(x: torch.Tensor) -> torch.Tensor:
    view = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert view.is_neg()
    return view


KINDS: dict[str, Make] = {
    "tensor": lambda x: x,
    "array": lambda x: x.numpy(),
    "float64 tensor": lambda x: x.double(),
    "float64 array": lambda x: x.double().numpy(),
    "big-endian array": lambda x: x.numpy().astype(">f4"),
    "read-only array": a_read_only_array,
    "unaligned array": an_unaligned_array,
    "Fortran array": lambda x: np.asfortranarray(x.numpy()),
    "every second row": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "negative strides": lambda x: np.ascontiguousarray(x.numpy()[::-1])[::-1],
    "transposed": lambda x: x.T.contiguous().T,
    "negated view": a_negated_view,
    "requires_grad": lambda x: x.clone().requires_grad_(),
    "parameter": torch.nn.Parameter,
    "three axes": lambda x: x.reshape(5, 6, -1),
    "four axes, permuted": lambda x: x.reshape(5, 3, 2, -1).permute(2, 1, 0, 3).contiguous().permute(2, 1, 0, 3),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_arrays_of_every_kind_become_the_features_of_their_rows(make: Make, sae: LoadedSae, x: torch.Tensor) -> None:
    before = x.clone()
    found = encoder.encode(make(x), sae, batch_tokens=7)
    assert_exact(found, sae, before)
    assert found.shape == (N, encoding.D_SAE) and found.data.dtype == np.float32
    assert found.indptr.dtype == found.indices.dtype == np.int32
    assert torch.equal(x, before), "the caller's array is as it was"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_taken_as_they_are(dtype: torch.dtype, sae: LoadedSae, x: torch.Tensor) -> None:
    assert_exact(encoder.encode(x.to(dtype), sae), sae, x.to(dtype))
    if dtype == torch.float16:
        assert_exact(encoder.encode(x.to(dtype).numpy(), sae), sae, x.to(dtype))


def test_the_bfloat16_of_ml_dtypes_is_bfloat16(sae: LoadedSae, x: torch.Tensor) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    half = x.bfloat16()
    array = half.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    assert_exact(encoder.encode(array, sae), sae, half)


def test_one_row_without_leading_axes_is_a_row(sae: LoadedSae, x: torch.Tensor) -> None:
    assert_exact(encoder.encode(x[3], sae), sae, x[3:4])


@pytest.mark.parametrize("lead", [(0,), (0, 6), (5, 0), (5, 0, 2)])
def test_no_rows_become_no_rows(lead: tuple[int, ...], sae: LoadedSae) -> None:
    for empty in (torch.zeros(*lead, encoding.D_IN), np.zeros((*lead, encoding.D_IN), np.float16)):
        found = encoder.encode(empty, sae)
        assert found.shape == (0, encoding.D_SAE) and found.nnz == 0


def test_the_result_is_the_same_as_that_of_a_file(params: Path, sae: LoadedSae, tmp_path: Path) -> None:
    site = encoding.Site(tmp_path)
    encoding.save_params(site.params, encoding.dictionary(threshold=1.0))
    rows = torch.randn(40, encoding.D_IN, generator=torch.Generator().manual_seed(5)).bfloat16()
    site.keep("a", rows)
    site.encode(batch_tokens=16)
    on_disk, found = encoding.read(site.out / "a.npz"), encoder.encode(rows.reshape(2, 20, -1), sae, batch_tokens=9)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, name), getattr(on_disk, name))


def test_scipy_computes_with_the_result(sae: LoadedSae, x: torch.Tensor) -> None:
    found = encoder.encode(x, sae)
    assert found.has_canonical_format and found.has_sorted_indices
    fresh = found.copy()
    fresh.has_sorted_indices = fresh.has_canonical_format = False
    fresh.sum_duplicates()
    assert (fresh != found).nnz == 0 and found.T.tocsr().T.tocsr().nnz == found.nnz


def test_float16_values_are_rounded_and_come_as_float32_of_the_same_support(sae: LoadedSae, x: torch.Tensor) -> None:
    full, rounded = encoder.encode(x, sae), encoder.encode(x, sae, values="float16")
    assert rounded.data.dtype == np.float32
    np.testing.assert_array_equal(rounded.indices, full.indices)
    np.testing.assert_array_equal(rounded.data, full.data.astype(np.float16).astype(np.float32))
    with pytest.raises(encoder.ShardError, match="does not fit float16; use --values float32"):
        encoder.encode(x * 1e5, sae, values="float16")


def test_an_sae_may_be_a_path_or_a_release_and_id(params: Path, sae: LoadedSae, x: torch.Tensor) -> None:
    for named in (params, str(params)):
        assert (encoder.encode(x, named) != encoder.encode(x, sae)).nnz == 0
    with pytest.raises(encoder.InputError, match="no such file or folder"):
        encoder.encode(x, "somewhere/else")
    with pytest.raises(encoder.InputError, match="SAELens knows no such release"):
        encoder.encode(x, ("no-such-release", "layer_3"))
    for bad in (None, 3, ("one",), ("a", 3)):
        with pytest.raises(encoder.InputError, match="expected a loaded SAE, a path or"):
            encoder.encode(x, bad)  # type: ignore[arg-type]


# What is refused


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused_with_its_row(value: float, sae: LoadedSae, x: torch.Tensor) -> None:
    x[17, 3] = value
    for rows in (x, x.numpy(), x.half(), x.bfloat16(), x.double()):
        with pytest.raises(encoder.ShardError, match=r"row 17 holds NaN, infinity"):
            encoder.encode(rows, sae, batch_tokens=4)
    with pytest.raises(encoder.ShardError, match=r"row 17, x\[2, 5\] holds NaN"):
        encoder.encode(x.reshape(5, 6, -1), sae)


def test_a_float64_that_no_float32_holds_is_refused(sae: LoadedSae, x: torch.Tensor) -> None:
    large = x.double()
    large[4, 0] = 1e39
    for rows in (large, large.numpy()):
        with pytest.raises(encoder.ShardError, match=r"row 4 holds .* too large for float32"):
            encoder.encode(rows, sae)


WRONG: dict[str, tuple[Make, str]] = {
    "integers": (lambda x: x.long(), r"torch.int64; expected float16.*are these token ids"),
    "an array of integers": (lambda x: x.int().numpy(), "int32; expected float16.*are these token ids"),
    "booleans": (lambda x: x > 0, "torch.bool"),
    "complex numbers": (lambda x: x.numpy().astype(np.complex64), "complex64"),
    "objects": (lambda x: x.numpy().astype(object), "object"),
    "long doubles": (lambda x: x.numpy().astype(np.longdouble), "float(128|96)|longdouble"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "a list": (lambda x: x.tolist(), "a list; expected a torch tensor or a numpy array"),
    "a masked array": (lambda x: np.ma.masked_less(x.numpy(), 0), "masked array"),
    "a sparse tensor": (lambda x: x.to_sparse(), r"to_dense"),
    "a tensor without data": (lambda x: x.to("meta"), "meta"),
    "another width": (lambda x: x[:, :7], f"rows of 7 numbers, but the SAE takes {encoding.D_IN}"),
    "no width": (lambda x: x[:, :0], f"rows of 0 numbers, but the SAE takes {encoding.D_IN}"),
    "a number": (lambda x: x[0, 0], f"a single number, but the SAE takes {encoding.D_IN}"),
    "columns of tokens": (lambda x: x.T, r"give x\.T"),
    "heads": (lambda x: x.reshape(N, 4, -1), r"the last two axes make up a row"),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_activations_of_the_sae_is_refused_in_words(
    make: Make, words: str, sae: LoadedSae, x: torch.Tensor
) -> None:
    with pytest.raises(encoder.ShardError, match=words):
        encoder.encode(make(x), sae)


@pytest.mark.parametrize(
    "setting",
    [{"backend": "abacus"}, {"device": "tpu"}, {"device": "cuda:99"}, {"values": "int8"}, {"batch_tokens": 0}],
)
def test_a_setting_that_cannot_be_used_is_refused(setting: dict[str, Any], sae: LoadedSae, x: torch.Tensor) -> None:
    with pytest.raises(encoder.InputError, match=str(next(iter(setting.values())))):
        encoder.encode(x, sae, **setting)


# Where it is called


def test_the_kernel_is_kept_with_the_sae_and_not_with_its_copies(params: Path, x: torch.Tensor) -> None:
    mine = encoding.load(params)
    encoder.encode(x, mine)
    ((kernel, _),) = mine.warm.values()
    encoder.encode(x, mine)
    assert [kept for kept, _ in mine.warm.values()] == [kernel]
    assert not copy.deepcopy(mine).warm and len(mine.warm) == 1
    encoder.encode(x, mine, backend="reference")
    assert len(mine.warm) == 2


def test_threads_may_share_an_sae(sae: LoadedSae, x: torch.Tensor) -> None:
    expected = encoder.encode(x, sae)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(encoder.encode(x, sae))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all((one != expected).nnz == 0 for one in found)


def test_what_the_caller_set_in_torch_changes_no_feature(params: Path, x: torch.Tensor) -> None:
    for backend in ("cpu", "reference"):
        mine = encoding.load(params)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
            assert_exact(encoder.encode(x.clone(), mine, backend=backend), mine, x)
    fallback = encoding.load(encoding.save(encoding.make_module("gated"), params.parent / "gated"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.encode(x, fallback)
    assert_exact(found, fallback, x)


IN_A_FORK = """
import os, sys
import numpy as np
import encoder

sae = encoder.load_sae(sae_path=sys.argv[1])
x = np.random.default_rng(0).standard_normal((20_000, sae.d_in), np.float32)
if sys.argv[2] == "warm":
    encoder.encode(x, sae, batch_tokens=20_000)
pid = os.fork()
if not pid:
    os._exit(0 if encoder.encode(x, sae, batch_tokens=20_000).nnz else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("state", ["warm", "cold"])
def test_a_forked_worker_process_encodes_too(state: str, params: Path) -> None:
    command = [sys.executable, "-c", IN_A_FORK, str(params), state]
    subprocess.run(command, check=True, timeout=120)


def test_a_running_event_loop_is_no_hindrance(sae: LoadedSae, x: torch.Tensor) -> None:
    import asyncio

    async def notebook_cell() -> Any:
        return encoder.encode(x, sae)

    assert_exact(asyncio.run(notebook_cell()), sae, x)
