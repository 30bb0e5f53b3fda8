"""The demo's labels: what a rule says of a feature by the contexts on which it fires most."""

from __future__ import annotations

from demo.naming import MOST_CHARACTERS, Context, context_of, describe, spell_out, words_of


def contexts(*lines: str, book: str | None = None) -> list[Context]:
    """Make a context of each line, in which the token is in brackets and `|` is between two tokens of one word."""
    found = []
    for number, line in enumerate(lines):
        tokens = [token for word in line.split() for token in f" {word}".split("|")]
        (at,) = (i for i, token in enumerate(tokens) if "[" in token)
        tokens[at] = tokens[at].replace("[", "").replace("]", "")
        words, of = words_of(tokens)
        found.append(context_of(str(number) if book is None else book, tokens, words, of, at))
    return found


def test_tokens_are_joined_to_the_words_that_they_spell() -> None:
    tokens = [">>>", " hash", "able", "(", "x", ")", " is", "\n\nTrue", ",", " U", ".", "S\n", "In"]
    words, at = words_of(tokens)
    assert words == [">>>", "hashable", "(", "x", ")", "is", "true", ",", "u", ".", "s", "in"]
    assert at == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_different_tokens_are_listed_the_most_frequent_first() -> None:
    made = contexts("a [house] b", "the [City] c", "one [city] d", "of [temples] e", "in [cities] f")
    assert describe(made, {}) == "“city”, “house”, “temples”, “cities”"


def test_a_token_with_the_same_neighbour_is_named_with_it() -> None:
    assert describe(contexts("a king [of] b", "the king [of] c", "that king [of] d"), {}) == "“of” after “king”"
    assert describe(contexts("to [the] Lord", "in [the] Lord", "by [the] LORD"), {}) == "“the” before “lord”"


def test_words_that_are_hardly_ever_the_same_are_only_examples() -> None:
    made = contexts(*(f"a{i} [word{i}] b{i}" for i in range(20)))
    assert describe(made, {}) == "“word0”, “word1”, “word2”, “word3”, ..."


def test_a_part_of_words_is_named_with_the_words() -> None:
    assert describe(contexts("x hash|[able]", "x im|mut|[able]", "x mut|[able]"), {}) == (
        "“-able” as in “hashable”, “immutable”, “mutable”"
    )
    assert describe(contexts("[un]|real", "[un]|like"), {}) == "“un-” as in “unreal”, “unlike”"
    assert describe(contexts("an|[aba]|ptist", "an|[aba]|ptist"), {}) == "“-aba-” in “anabaptist”"


def test_words_are_named_as_near_only_if_they_are_rarer_elsewhere_in_the_book() -> None:
    lines = ("the captivity shall [return] to it", "from captivity they [return] the", "captivity and [return] a")
    made = contexts(*lines, book="scripture")
    often = dict.fromkeys(["a", "and", "from", "it", "shall", "the", "they", "to"], 0.5)
    near = "“return” near “captivity” (scripture)"
    assert describe(made, {"scripture": {**often, "captivity": 0.01}}) == near
    assert describe(made, {"scripture": {**often, "captivity": 0.5}}) == "“return” (scripture)"
    assert describe(made, {"scripture": often, "manual": {"captivity": 0.5}}) == near


def test_a_book_is_named_if_nearly_all_contexts_are_of_it() -> None:
    lines = [f"w{i} [and] v{i}" for i in range(20)]
    assert describe(contexts(*lines, book="scripture"), {}) == "“and” (scripture)"
    assert describe([*contexts(*lines[:18], book="scripture"), *contexts(*lines[18:])], {}) == "“and”"


def test_a_label_is_a_sentence_with_the_strongest_words_and_not_too_long() -> None:
    (strongest,) = contexts("and they , that is the king [of] Babylon , came , with all of his host against it")
    said = spell_out("“of” after “king”", strongest)
    assert (
        said
        == "fires on “of” after “king”, most strongly in “and they, that is the king of babylon, came, with all of his”"
    )
    assert 60 <= len(said) <= MOST_CHARACTERS
    long = spell_out("x" * 200, strongest)
    assert long == f"fires on {'x' * 200}, most strongly in “of”"
