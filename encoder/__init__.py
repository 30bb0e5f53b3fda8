"""Activation shards from a directory queue to sparse CSR features: exactly the float64-true active set.

from encoder import open_features

features = open_features("features/")
features[0:10]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.errors import EncoderError
    from encoder.features import Features, open_features

__all__ = ["EncoderError", "Features", "open_features"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `import encoder` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("encoder.errors" if name == "EncoderError" else "encoder.features"), name)
