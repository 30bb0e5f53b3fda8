"""Every address of the API and the view that answers there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dashboard.views import (
    compare,
    documents,
    features,
    figure,
    groups,
    health,
    lanes,
    rows,
    search,
    summary,
    where,
    words,
)

View = Callable[..., Any]
ALWAYS = None


@dataclass(frozen=True, slots=True)
class Address:
    """One address below /api. `path` may hold one `{}`, which stands for a whole number that the view gets, too.

    In documents/{} it may also be a document's address (`dashboard.model.documents`); the view gets its number.

    `parameters` are the names that a query may use. With those in `slow_with` the view goes through whole documents or
    through all values of a feature, which takes seconds in a large folder; ALWAYS if it does so with any parameters.
    """

    path: str
    view: View
    parameters: tuple[str, ...]
    slow_with: frozenset[str] | None = frozenset()

    @property
    def names_document(self) -> bool:
        return self.path.startswith("documents/{}")

    def is_slow(self, query: Iterable[str]) -> bool:
        """Say whether a request with these parameters may take seconds."""
        return self.slow_with is ALWAYS or not self.slow_with.isdisjoint(query)


API = (
    Address("summary", summary.summary, summary.PARAMETERS),
    Address("documents", documents.documents, documents.LIST_PARAMETERS, frozenset({"query"})),
    Address("documents/{}/tokens", documents.tokens, documents.TOKENS_PARAMETERS),
    Address("documents/{}/features", documents.features, documents.FEATURES_PARAMETERS, ALWAYS),
    Address("documents/{}/lanes", lanes.lanes, lanes.PARAMETERS, ALWAYS),
    Address("documents/{}/row", rows.row_of_document, rows.DOCUMENT_PARAMETERS),
    Address("rows/{}", rows.row, rows.PARAMETERS),
    Address("features/{}", features.feature, features.PARAMETERS),
    Address("features/{}/top", features.top, features.TOP_PARAMETERS, frozenset({"offset", "distinct", "above"})),
    Address("features/{}/documents", where.documents, where.DOCUMENTS_PARAMETERS, ALWAYS),
    Address("features/{}/together", where.together, where.TOGETHER_PARAMETERS, ALWAYS),
    Address("search", search.search, search.PARAMETERS, frozenset({"document", "a", "b"})),
    Address("groups", groups.groups, groups.PARAMETERS),
    Address("contrast", groups.contrast, groups.CONTRAST_PARAMETERS, ALWAYS),
    Address("words", words.words, words.PARAMETERS),
    Address("words/features", words.features, words.FEATURES_PARAMETERS, ALWAYS),
    Address("compare", compare.compare, compare.PARAMETERS, ALWAYS),
    Address("figure", figure.figure, figure.PARAMETERS, ALWAYS),
    Address("health", health.health, health.PARAMETERS),
)
