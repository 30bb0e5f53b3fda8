"""The dtype and the shape of an array without a header, as a flag or a side file says them.

float16, torch.float16, np.float16, <class 'numpy.float16'>, half, fp16, f2, <f2      the same; >f2 is big-endian
1000,2304   1000x2304   -1,2304   (1000, 2304)                                       -1 is what the file's size gives
"""

from __future__ import annotations

import re

from encoder.errors import InputError

_NAMES = {
    "float16": "float16", "half": "float16", "fp16": "float16", "f2": "float16", "f16": "float16",
    "halffloat": "float16", "bfloat16": "bfloat16", "bf16": "bfloat16",
    "float32": "float32", "single": "float32", "fp32": "float32", "f4": "float32", "f32": "float32",
    "float64": "float64", "double": "float64", "fp64": "float64", "f8": "float64", "f64": "float64",
    "int16": "int16", "i2": "int16", "short": "int16", "uint16": "uint16", "u2": "uint16",
}  # fmt: skip
_WRAPPED = re.compile(r"(?:<class '(.+)'>|dtype\('(.+)'\)|(.+))")
_MODULE = re.compile(r"(?:torch|np|numpy|jnp|jax\.numpy|ml_dtypes)\.")


def parse_dtype(text: str) -> tuple[str, bool] | None:
    """Return the dtype's name and whether it is big-endian; None where the text names none that can be read.

    `float` alone names none: it has 32 bits in torch and 64 in numpy.
    """
    found = _WRAPPED.fullmatch(text.strip())
    plain = _MODULE.sub("", (found[1] or found[2] or found[3]) if found else "").strip().lower()
    order = plain[:1] if plain[:1] in "<>=|" else ""
    name = _NAMES.get(plain[len(order) :])
    return None if name is None else (name, order == ">")


def parse_shape(text: str) -> tuple[int, ...] | None:
    """Return the sizes, one of which may be -1; None where the text is no shape of rows."""
    parts = [part.strip() for part in re.split(r"[,x*\s]+", text.strip().strip("()[]").strip(", ").lower())]
    if not 2 <= len(parts) <= 8 or not all(re.fullmatch(r"-1|[0-9]{1,18}", part, re.ASCII) for part in parts):
        return None
    sizes = tuple(map(int, parts))
    return sizes if sizes.count(-1) <= 1 and sizes[-1] != 0 else None


def check_declared(flag: str, text: str) -> str:
    """Return the text of `--dtype` or `--shape` in its plainest form. Raises: InputError if it says nothing."""
    if flag == "--shape":
        sizes = parse_shape(text)
        if sizes is None:
            raise InputError(f"--shape {text[:80]}: expected sizes such as 1000,2304; one may be -1, for what is there")
        return "x".join(map(str, sizes))
    dtype = parse_dtype(text)
    if dtype is None:
        more = ": 32 bits in torch, 64 in numpy" if text.strip() == "float" else ""
        raise InputError(
            f"--dtype {text[:80]}{more}: expected float16, bfloat16, float32 or float64; >f4 is big-endian"
        )
    return f">{dtype[0]}" if dtype[1] else dtype[0]
