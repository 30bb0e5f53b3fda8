"""Activation shards from a directory queue to sparse CSR features: exactly the float64-true active set.

from encoder import open_features

features = open_features("features/")
features[0:10]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.errors import EncoderError
    from encoder.feature_index import FeatureIndex, index_state, open_index
    from encoder.features import Features, open_features
    from encoder.labelled import Active, LabelledFeatures

__all__ = [
    "Active",
    "EncoderError",
    "FeatureIndex",
    "Features",
    "LabelledFeatures",
    "index_state",
    "open_features",
    "open_index",
]

_HOMES = {
    "Active": "encoder.labelled",
    "EncoderError": "encoder.errors",
    "FeatureIndex": "encoder.feature_index",
    "Features": "encoder.features",
    "LabelledFeatures": "encoder.labelled",
    "index_state": "encoder.feature_index",
    "open_features": "encoder.features",
    "open_index": "encoder.feature_index",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `import encoder` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
