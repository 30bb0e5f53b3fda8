"""Activations to sparse SAE features, exactly the float64-true active set: from Python, files or a queue.

import encoder

sae = encoder.load_sae(sae_path="params.npz")
encoder.encode(activations, sae)                        # an array [..., d_in] -> scipy CSR [rows, d_sae]
encoder.encode_files("activations/", "features", sae)   # what `sae-encode run` does; of a list of SAEs, all in one
encoder.open_features("features")[0:10]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.engines.run import encode_files
    from encoder.errors import EncodeError, EncoderError, InputError, MismatchError, ShardError
    from encoder.file.folder import Features, open_features
    from encoder.index import FeatureIndex, index_state, open_index
    from encoder.labelled import Active, LabelledFeatures
    from encoder.sae.load import load_sae
    from encoder.sae.rules import Rule, register_rule
    from encoder.sae.sae import LoadedSae
    from encoder.work.memory import encode

__all__ = [
    "Active",
    "EncodeError",
    "EncoderError",
    "FeatureIndex",
    "Features",
    "InputError",
    "LabelledFeatures",
    "LoadedSae",
    "MismatchError",
    "Rule",
    "ShardError",
    "encode",
    "encode_files",
    "index_state",
    "load_sae",
    "open_features",
    "open_index",
    "register_rule",
]

_HOMES = {
    "Active": "encoder.labelled",
    "EncodeError": "encoder.errors",
    "EncoderError": "encoder.errors",
    "FeatureIndex": "encoder.index",
    "Features": "encoder.file.folder",
    "InputError": "encoder.errors",
    "LabelledFeatures": "encoder.labelled",
    "LoadedSae": "encoder.sae.sae",
    "MismatchError": "encoder.errors",
    "Rule": "encoder.sae.rules",
    "ShardError": "encoder.errors",
    "encode": "encoder.work.memory",
    "encode_files": "encoder.engines.run",
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
    from saefetch.extras import needs

    with needs("encode", f"encoder.{name}"):
        return getattr(import_module(_HOMES[name]), name)
