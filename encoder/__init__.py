"""Activation shards from a directory queue to sparse CSR features: exactly the float64-true active set.

from encoder import open_features

features = open_features("features/")
features[0:10]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.errors import EncoderError
    from encoder.file.folder import Features, open_features
    from encoder.index import FeatureIndex, index_state, open_index
    from encoder.labelled import Active, LabelledFeatures
    from encoder.sae.load import load_sae
    from encoder.sae.rules import Rule, register_rule
    from encoder.sae.sae import LoadedSae

__all__ = [
    "Active",
    "EncoderError",
    "FeatureIndex",
    "Features",
    "LabelledFeatures",
    "LoadedSae",
    "Rule",
    "index_state",
    "load_sae",
    "open_features",
    "open_index",
    "register_rule",
]

_HOMES = {
    "Active": "encoder.labelled",
    "EncoderError": "encoder.errors",
    "FeatureIndex": "encoder.index",
    "Features": "encoder.file.folder",
    "LabelledFeatures": "encoder.labelled",
    "LoadedSae": "encoder.sae.sae",
    "Rule": "encoder.sae.rules",
    "index_state": "encoder.index",
    "load_sae": "encoder.sae.load",
    "open_features": "encoder.file.folder",
    "open_index": "encoder.index",
    "register_rule": "encoder.sae.rules",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `import encoder` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
