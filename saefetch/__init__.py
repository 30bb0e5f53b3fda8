"""Every feature label of a sparse autoencoder from Neuronpedia: complete, polite, resumable.

from saefetch import open_labels

labels = open_labels("sae", "gemma-scope-2b-pt-res-canonical", "layer_16/width_16k/canonical")
labels[42].description
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saefetch.errors import SaefetchError
    from saefetch.labels import Explanation, Hit, Label, Labels, open_labels

__version__ = "0.1.0"

__all__ = ["Explanation", "Hit", "Label", "Labels", "SaefetchError", "__version__", "open_labels"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `saefetch --help` does not pay for them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("saefetch.errors" if name == "SaefetchError" else "saefetch.labels"), name)
