"""Every feature label of a sparse autoencoder from Neuronpedia: complete, polite, resumable.

    import saefetch

    labels = saefetch.download()                       the default SAE: GemmaScope 2B, layer 16, 16,384 features
    labels[42].description
    labels.search("dogs")
    labels = saefetch.open_labels("sae", release, sae_id)              what was downloaded before

The rooms, in the order of a label's way:

    names/         which SAE is meant, and what Neuronpedia calls it
    downloading/   `download`: the run, its jobs, how far they are
    sources/       the export and the API, as chunks to get      decode.py, objects.py: bytes -> rows
    net/           every request: pace, retries, caps
    store/         labels.sqlite, the checkpoint
    publish.py     store -> feature_labels.json      explanations.py: which explanation comes first
    search.py      the full-text index over the labels
    labels.py      `Labels`, for reading             inventory.py: what is here, and is it sound
    cli/           the command, a thin face of all that
    files/, terminal/     the ground floor, which encoder and dashboard stand on too
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saefetch.downloading.api import download
    from saefetch.errors import (
        DownloadError,
        LockedError,
        MissingExtraError,
        RefusedError,
        SaefetchError,
        StoreError,
        UsageError,
    )
    from saefetch.labels import Explanation, Hit, Label, Labels, open_labels

__version__ = "0.1.0"

__all__ = [
    "DownloadError",
    "Explanation",
    "Hit",
    "Label",
    "Labels",
    "LockedError",
    "MissingExtraError",
    "RefusedError",
    "SaefetchError",
    "StoreError",
    "UsageError",
    "__version__",
    "download",
    "open_labels",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `saefetch --help` does not pay for them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "download":
        module = "saefetch.downloading.api"
    else:
        module = "saefetch.errors" if name.endswith("Error") else "saefetch.labels"
    return getattr(import_module(module), name)
