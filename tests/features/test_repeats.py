"""Rows of zeros and repeated rows are those that a look at all numbers finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder.machine.repeats import repeated_rows, zero_rows

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@given(
    values=st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0]), max_size=20),
    dtype=st.sampled_from(DTYPES),
    width=st.integers(1, 9),
)
def test_zeros_and_repeats_are_found_in_any_dtype(values: list[float], dtype: torch.dtype, width: int) -> None:
    x = torch.tensor(values, dtype=dtype).reshape(-1, 1).repeat(1, width)
    assert zero_rows(x).tolist() == [value == 0 for value in values]
    before = torch.full((1, width), 2, dtype=dtype)
    same = [str(a) == str(b) for a, b in zip(values, [2.0, *values], strict=False)]
    assert repeated_rows(x, before).tolist() == same


@pytest.mark.parametrize("column", [0, 1, 777, 2303])
def test_rows_that_differ_in_one_column_are_neither(column: int) -> None:
    x = torch.ones(40, 2304)
    x[::2, column] = 2
    assert not repeated_rows(x, x[1:2]).any()
    x = torch.zeros(40, 2304)
    x[:, column] = 1
    assert not zero_rows(x).any()
    assert repeated_rows(x, x[:1]).all()
