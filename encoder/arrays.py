"""The types of numpy arrays, named once. A signature says the dtype of an array; its docstring says the shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

Float = NDArray[Any]
"""Values: float32, or float16 or float64 where the docstring or the file says so."""
Int = NDArray[Any]
"""Whole numbers of the width that a file or scipy chose: int32 or int64."""
AnyArray = NDArray[Any]
"""An array of any dtype: a member of a file, or a matrix product in one of three precisions."""
