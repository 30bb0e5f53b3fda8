"""The rule by which one of several explanations is published, against a model so simple that it is obviously right."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from saefetch.explanations import Explanation, Preference
from saefetch.settings import Settings

NAMES = ["", "first", "second", "unlisted", "zebra"]
TEXTS = st.sampled_from(["", " ", "\n\t\u2028", "\xa0", "a", " a", "b", "B", "é", "\N{GRINNING FACE}"]) | st.text(
    max_size=3
)
EXPLANATIONS = st.builds(Explanation, TEXTS, st.sampled_from(NAMES), st.sampled_from(NAMES))
PREFERENCES = st.builds(
    Preference,
    st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple),
    st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple),
)


def beats(preference: Preference, a: Explanation, b: Explanation) -> bool:
    """Say whether `a` comes before `b`, one sentence of the rule after the other."""
    if (a.text.strip() == "") != (b.text.strip() == ""):
        return b.text.strip() == ""
    for order, mine, yours in ((preference.types, a.type, b.type), (preference.models, a.model, b.model)):
        if (mine in order) != (yours in order):
            return mine in order
        if mine in order and mine != yours:
            return order.index(mine) < order.index(yours)
    return (a.text, a.type, a.model) < (b.text, b.type, b.model)


@given(PREFERENCES, st.lists(EXPLANATIONS, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_matters(
    preference: Preference, explanations: list[Explanation], draw: random.Random
) -> None:
    ranked = preference.rank(explanations)
    shuffled = explanations * 2
    draw.shuffle(shuffled)
    assert preference.rank(shuffled) == ranked


@given(PREFERENCES, st.lists(EXPLANATIONS, max_size=8))
def test_the_ranking_is_that_of_the_rule_and_loses_nothing_but_duplicates(
    preference: Preference, explanations: list[Explanation]
) -> None:
    ranked = preference.rank(explanations)
    assert set(ranked) == set(explanations)
    assert len(ranked) == len(set(explanations))
    for i, better in enumerate(ranked):
        assert all(beats(preference, better, worse) for worse in ranked[i + 1 :])


@given(PREFERENCES, st.lists(EXPLANATIONS, min_size=1, max_size=8))
def test_a_blank_one_is_first_only_where_all_are_blank(preference: Preference, explanations: list[Explanation]) -> None:
    first = preference.rank(explanations)[0]
    assert first.blank == all(not e.text.strip() for e in explanations)


@given(PREFERENCES, st.lists(EXPLANATIONS, min_size=1, max_size=6), EXPLANATIONS)
def test_one_more_explanation_never_changes_the_order_of_the_others(
    preference: Preference, explanations: list[Explanation], more: Explanation
) -> None:
    before, after = preference.rank(explanations), preference.rank([*explanations, more])
    assert [e for e in after if e != more or e in explanations] == before


def test_the_type_counts_before_the_model_and_both_before_the_text() -> None:
    preference = Preference(("t1", "t2"), ("m1", "m2"))
    in_order = [
        Explanation("z", "t1", "m1"),
        Explanation("a", "t1", "m2"),
        Explanation("a", "t1", "unlisted"),
        Explanation("a", "t2", "m1"),
        Explanation("a", "", "m1"),
        Explanation("b", "unlisted", "m1"),
        Explanation("a", "unlisted", ""),
        Explanation("", "t1", "m1"),
    ]
    assert preference.rank(reversed(in_order)) == in_order


def test_no_preference_at_all_still_gives_one_order() -> None:
    explanations = [Explanation("b", "x", "y"), Explanation("a", "y", "x"), Explanation("a", "x", "y")]
    assert Preference().rank(explanations) == [explanations[2], explanations[1], explanations[0]]


def test_code_points_decide_not_a_locale() -> None:
    texts = ["Z", "a", "z", "ä", "\uffff", "\U0001f600"]
    ranked = Preference().rank(Explanation(text, "", "") for text in reversed(texts))
    assert [e.text for e in ranked] == texts


def test_the_built_in_preference_names_no_type_or_model_twice() -> None:
    preference = Settings().preference
    assert len(set(preference.types)) == len(preference.types) >= 4
    assert len(set(preference.models)) == len(preference.models) >= 4
    assert "" not in preference.types + preference.models
