"""Features and labels of one SAE, side by side: what fires on a row, and what it means.

    with open_labels("sae", release, sae_id) as labels, open_features("features/") as features:
        for active in LabelledFeatures(features, labels).strongest(row=7, limit=5):
            print(active.index, active.value, active.description)

Labels of another SAE would look just as plausible, so nothing is joined that is not known to belong together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoder.errors import MismatchError
from encoder.file.folder import Features
from saefetch import Labels


@dataclass(frozen=True, slots=True)
class Active:
    """A feature that fires on a row. `share` is its value over the largest that Neuronpedia saw, None if unknown."""

    index: int
    value: float
    share: float | None
    description: str | None


class LabelledFeatures:
    """Features joined with the labels of the same SAE. Raises: MismatchError where they are not, or may not be."""

    def __init__(self, features: Features, labels: Labels) -> None:
        check_same_sae(features, labels)
        self._features, self._labels = features, labels

    def strongest(self, row: int, limit: int | None = None) -> list[Active]:
        """Return the features that fire on `row`, the strongest first; of equal ones the lower index first."""
        matrix = self._features[row]
        order = np.argsort(-matrix.data, kind="stable")[:limit]
        return [self._active(int(matrix.indices[at]), float(matrix.data[at])) for at in order]

    def _active(self, index: int, value: float) -> Active:
        label = self._labels[index]
        return Active(index, value, value / label.max_activation if label.max_activation else None, label.description)


def check_same_sae(features: Features, labels: Labels) -> None:
    """Raises: MismatchError unless both are known to be of one SAE, by its name, its Neuronpedia id and its width."""
    theirs = {
        "sae_release": labels.release,
        "sae_id": labels.sae_id,
        "neuronpedia_id": labels.neuronpedia_id,
    }
    get = f"saefetch download --sae-release {labels.release} --sae-id {labels.sae_id}"
    for path, meta in zip(features.paths, features.meta, strict=True):
        if meta.get("neuronpedia_id") is None and meta.get("sae_path"):
            raise MismatchError(
                f"{path} was made with the SAE in {meta['sae_path']}, whose Neuronpedia id is not known; to see labels"
                " beside features, encode with --sae-release and --sae-id"
            )
        for name, label_side in theirs.items():
            ours = meta.get(name)
            if ours != label_side and not (ours is None and meta.get("sae_path")):
                raise MismatchError(
                    f"{path} and these labels are of different SAEs: {name} is {ours} for the features and {label_side}"
                    f" for the labels, which came by `{get}`; download the labels of the features' SAE"
                )
    if features.shape[1] != len(labels):
        raise MismatchError(
            f"the features have {features.shape[1]:,} columns, but there are labels for {len(labels):,}"
            f" ({labels.release} {labels.sae_id}); they are of different SAEs"
        )
