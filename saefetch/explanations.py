"""Which of a feature's explanations is published.

All sources carry the type, the explainer model and the text of an explanation; none carries a reliable order. So the
rule uses just these three, and its result depends neither on the source nor on the order of arrival:

    not blank, then the type's place in `explanation_types`, then the model's place in `explanation_models`
    (what is not listed comes last), then the text, the type and the model in code point order.

The same explanation served twice counts once. Blank ones are kept, and lose to any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Explanation(NamedTuple):
    """One auto-interpretation of a feature, text as served; `type` and `model` are "" where the server has null."""

    text: str
    type: str
    model: str

    @property
    def blank(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class Preference:
    """The order in which explanation types and explainer models are preferred."""

    types: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def rank(self, explanations: Iterable[Explanation]) -> list[Explanation]:
        """Sort a feature's explanations, the one to publish first; duplicates are dropped."""
        given = list(explanations)
        return sorted(set(given), key=self._key) if len(given) > 1 else given

    def _key(self, e: Explanation) -> tuple[bool, int, int, Explanation]:
        return e.blank, _place(self.types, e.type), _place(self.models, e.model), e


def _place(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)
