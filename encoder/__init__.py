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
    from encoder.labelled import Active, LabelledFeatures

__all__ = ["Active", "EncoderError", "Features", "LabelledFeatures", "open_features"]

_HOMES = {
    "Active": "encoder.labelled",
    "EncoderError": "encoder.errors",
    "Features": "encoder.features",
    "LabelledFeatures": "encoder.labelled",
    "open_features": "encoder.features",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `import encoder` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
