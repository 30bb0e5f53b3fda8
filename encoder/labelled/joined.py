"""Features and labels of one SAE, side by side: what fires on a row, and what it means.

with open_labels("sae", release, sae_id) as labels, open_features("features/") as features:
    joined = LabelledFeatures(features, labels)
    for active in joined.strongest(row=7, limit=5):
        print(active.index, active.value, active.description)
    joined.show(document=3)         in a notebook: the document's tokens, each with its features
    joined.show(feature=42).save("page.html")
"""

from __future__ import annotations

from encoder.file.folder import Features
from encoder.labelled import views
from encoder.labelled.active import Active, active_of
from encoder.labelled.density import density_match
from encoder.labelled.page import Page
from encoder.labelled.same import check_same_sae, is_one_scale
from saefetch.labels import Labels


class LabelledFeatures:
    """Features joined with the labels of the same SAE. Raises: MismatchError where they are not, or may not be."""

    def __init__(self, features: Features, labels: Labels) -> None:
        check_same_sae(features, labels)
        self._features, self._labels = features, labels

    def strongest(self, row: int, limit: int | None = None) -> list[Active]:
        """Return the features that fire on `row`, the strongest first; of equal ones the lower index first."""
        return active_of(self._features[row], self._labels, limit, is_one_scale=is_one_scale(self._features))[0]

    def density_match(self) -> float | None:
        """Say how alike the features' densities are to Neuronpedia's, 1 where they are in proportion; all rows are
        read.

        None if there are fewer than 4,000 rows that count, or Neuronpedia has no densities. Activations of the SAE's
        own layer have more than those of any other, on the same texts: with texts like Neuronpedia's 0.975 and more.
        """
        return density_match(self._features, self._labels)

    def show(self, document: int | None = None, row: int | None = None, feature: int | None = None) -> Page:
        """Return a page to look at: a notebook displays it, `.save("page.html")` writes it.

        document            its tokens, each with its features and their labels; the first one without arguments
        document and row    the part of a long document that has the row
        row                 all features of the row
        feature             the rows on which it is strongest, with the text around them

        With a feature too, a document, or that of a row, is coloured by that feature. Rows count over all files, as in
        `strongest`; negative numbers count from the end. Raises: IndexError, with what there is, for what is not there.
        """
        if document is None and feature is None and row is not None:
            return views.of_row(self._features, self._labels, row)
        if document is None and row is None and feature is not None:
            return views.of_feature(self._features, self._labels, feature)
        return views.of_document(self._features, self._labels, document, row=row, feature=feature)
