"""The labels of the features' SAE, looked for in the folder where downloads go."""

from __future__ import annotations

from pathlib import Path

from encoder.errors import MismatchError
from encoder.file.folder import Features
from encoder.labelled.same import check_same_sae
from saefetch.errors import SaefetchError
from saefetch.inventory import folders
from saefetch.labels import Labels
from saefetch.store.store import Store


def labels_of(features: Features, data_dir: Path) -> Labels | None:
    """Open the labels under `data_dir` that are of the features' SAE; None if none are, or none can be read."""
    for folder in folders(data_dir):
        try:
            labels = Labels(Store.open_read_only(folder))
        except SaefetchError:
            continue
        try:
            check_same_sae(features, labels)
        except MismatchError:
            labels.close()
        else:
            return labels
    return None
