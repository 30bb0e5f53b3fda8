"""Which extra brings which library: one that is not installed becomes a line with the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from saefetch.errors import MissingExtraError

LIBRARIES = {
    "encode": ("huggingface_hub", "llvmlite", "numba", "numpy", "pyarrow", "sae_lens", "safetensors", "scipy", "torch"),
    "dashboard": ("numpy", "scipy", "sentencepiece", "tokenizers"),
    "pandas": ("pandas",),
    "hdf5": ("h5py",),
    "zarr": ("zarr",),
    "cloud": ("huggingface_hub", "obstore"),
    "ray": ("ray",),
}


@contextmanager
def needs(extra: str, who: str) -> Iterator[None]:
    """Import libraries within this block. `who` needs them, and `extra` is preferred where several bring a library.

    Raises: MissingExtraError for a library that an extra brings.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        missing = missing_extra(exc, extra, who)
        if missing is None:
            raise
        raise missing from exc


def missing_extra(exc: ModuleNotFoundError, extra: str, who: str) -> MissingExtraError | None:
    """Return the error to raise in its place; None where no extra brings the library, so that it is a bug."""
    library = (exc.name or "").partition(".")[0]
    for name in (extra, *LIBRARIES):
        if library in LIBRARIES.get(name, ()):
            return MissingExtraError(f"{who} needs {library}: pip install 'saefetch[{name}]'")
    return None
