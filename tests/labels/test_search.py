"""Full-text search: what is found, in which order, and that no query can break it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness import RELEASE, SAE_ID, download, explain, make_world, plant
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saefetch import search as search_module
from saefetch.decode import Rows
from saefetch.errors import StoreError, UsageError
from saefetch.explanations import Preference
from saefetch.labels import open_labels
from saefetch.names.identity import sae_folder
from saefetch.search import MARK, Match, build, search, suggest
from saefetch.store.answers import Answers, ExportObject
from saefetch.store.records import LIVE
from saefetch.store.store import Store
from standin import Fault, Respond, Standin

TEXTS = [
    "dogs",
    "references to dogs and cats",
    "references to hot dogs, sausages and other food that is sold at a stand in the street",
    " terms related to running and runners",
    "café au lait, naïve résumé",
    "the token 'the' at sentence starts",
    "<b>HTML</b> tags & C++ templates (std::vector<T>)",
    "nul \x00 and\nnewlines\u2028and \x07 controls",
    "的 Chinese characters مرحبا and Arabic",
    "",
    "  ",
    "snake_case_names and kebab-case-names",
    "year 2024, 3.14 and 1e22",
    "NOT AND OR NEAR",
    "Dog",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with opened(tmp_path_factory.mktemp("store"), TEXTS) as store:
        build(store, len(TEXTS), Preference())
        yield store


@contextmanager
def opened(folder: Path, texts: list[str], *more: tuple[int, str, str, str]) -> Iterator[Store]:
    """Make a store of these labels, without an index."""
    store = Store.open(folder)
    rows = Rows(
        [(index, 1.0, 0.1, b"[]", b"[]") for index in range(len(texts))],
        [*((index, "t", "m", text) for index, text in enumerate(texts)), *more],
    )
    store.commit(Answers(rows), "2026-11-22T18:34:00Z")
    store.set_meta(num_features=len(texts))
    yield store
    store.close()


def found(store: Store, query: str, limit: int = 20) -> list[int]:
    return [match.index for match in search(store, query, limit)]


# -- what is found ----------------------------------------------------------------------------------------------------


def test_the_shortest_label_that_matches_comes_first(store: Store) -> None:
    assert found(store, "dogs") == [0, 14, 1, 2]


def test_scores_fall_and_the_limit_holds(store: Store) -> None:
    matches = search(store, "dogs", 20)
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
    assert all(match.score > 0 for match in matches)
    assert search(store, "dogs", 2) == matches[:2]
    assert search(store, "dogs", 0) == []


def test_words_match_by_their_stem_and_without_regard_to_case(store: Store) -> None:
    assert found(store, "RUN") == [3]
    assert found(store, "run") == found(store, "runs") == found(store, "running")
    assert set(found(store, "dog")) == {0, 1, 2, 14}


def test_all_words_must_match_if_any_label_has_them_all(store: Store) -> None:
    assert found(store, "dogs cats") == [1]
    assert found(store, "cats references") == [1]


def test_where_no_label_has_all_words_any_of_them_will_do(store: Store) -> None:
    assert set(found(store, "cats running unicorns")) == {1, 3}
    assert found(store, "unicorns") == []


def test_a_phrase_matches_only_in_its_order(store: Store) -> None:
    assert found(store, '"hot dogs"') == [2]
    assert found(store, '"dogs hot"') == []
    assert found(store, '"references to" cats') == [1]
    assert found(store, '"dogs hot" cats') == [1]  # any of the two


def test_a_star_matches_beginnings(store: Store) -> None:
    assert found(store, "saus*") == [2]
    assert found(store, "saus") == []
    assert set(found(store, "d*")) == {0, 1, 2, 14}
    assert found(store, "ref* caf*") == found(store, "ref* OR2 caf*")


def test_labels_with_a_word_that_is_not_wanted_are_left_out(store: Store) -> None:
    assert found(store, "dogs -cats") == [0, 14, 2]
    assert found(store, 'dogs -cats -"') == [0, 14, 2]
    assert found(store, "-dogs -cats") == found(store, "dogs cats"), "where no word is wanted there is a sign too much"
    assert found(store, "kebab-case -names") == []


def test_a_word_that_is_being_typed_comes_before_longer_ones(store: Store, tmp_path: Path) -> None:
    with opened(tmp_path, ["categories", "a label about a cat on a mat"]) as other:
        build(other, 2, Preference())
        assert [match.index for match in search(other, "cat", 9)] == [1]
        assert [match.index for match in search(other, "cat", 9, is_typed=True)] == [1, 0]
        assert [match.index for match in search(other, "cat", 1, is_typed=True)] == [1]
        assert [match.index for match in search(other, "a ca", 9, is_typed=True)] == [1]
        assert [match.index for match in search(other, '"cat"', 9, is_typed=True)] == [1], "a phrase is as it is"
        assert [match.index for match in search(other, "“cat”,", 9, is_typed=True)] == [1]


def test_a_word_that_no_label_has_is_spelt_like_one_that_some_label_has(store: Store) -> None:
    assert suggest(store, "sausges at a stand") == "sausages at a stand"
    assert suggest(store, "runing temlpates") == "runners templates"
    for query in ("dogs", "sausag", "xylophone", "", "dgs", "\ud800 \ud7ff"):
        assert suggest(store, query) is None, query


def test_accents_do_not_matter_on_either_side(store: Store) -> None:
    for query in ("cafe", "café", "cafe\u0301", "CAFÉ", "naive", "resume"):
        assert found(store, query) == [4], query


def test_words_in_any_script_are_found(store: Store) -> None:
    assert found(store, "مرحبا") == [8]
    assert found(store, "的") == [8]


@pytest.mark.parametrize("query", ["AND", "OR", "NOT", "NEAR", "NOT AND", "NEAR(AND OR)", "AND OR NOT NEAR"])
def test_the_operators_of_fts5_are_words_here(store: Store, query: str) -> None:
    assert 13 in found(store, query)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("'the'", 5),
        ("std::vector<T>", 6),
        ("C++", 6),
        ("(std::vector", 6),
        ("text:HTML", None),
        ("-cats", 1),
        ("^dogs", 0),
        ("{HTML}", 6),
        ('"hot dogs', 2),
        ('hot"dogs', 2),
        ('hot" dogs"', 2),
        ("snake_case_names", 11),
        ("snake", 11),
        ("kebab-case", 11),
        ("3.14", 12),
        ("a+b tags", 6),
        ("tags;DROP TABLE features;--", None),
        ("tags; DROP TABLE", 6),
        ("ta*gs HTML", 6),
        ("nul\x00 newlines", 7),
        ("and\nnewlines", 7),
        ("newlines\u2028and", 7),
    ],
)
def test_no_character_is_taken_for_syntax(store: Store, query: str, index: int | None) -> None:
    hits = found(store, query)
    assert index is None or index in hits


def test_an_argument_that_is_no_utf8_is_searched_as_far_as_it_is(store: Store) -> None:
    assert found(store, "dogs \udcff") == found(store, "dogs")
    assert found(store, '"hot \ud800 dogs"') == [2]
    assert isinstance(found(store, "dogs\udcff*"), list)


@pytest.mark.parametrize(
    "query", ["", " ", "\n", '""', "***", '"*"', "- + ^ : ( )", "\x00", "\u2028", "!?", "_", "__ _"]
)
def test_a_query_without_a_word_is_a_usage_error(store: Store, query: str) -> None:
    with pytest.raises(UsageError, match="nothing to search for"):
        search(store, query, 5)


def test_blank_labels_are_not_found_and_do_no_harm(store: Store) -> None:
    everything = {index for word in ("d*", "r*", "t*", "c*", "n*", "y*", "h*", "s*") for index in found(store, word)}
    assert not everything & {9, 10}


def test_the_matched_words_are_marked_and_the_rest_is_exact(store: Store) -> None:
    begin, end = MARK
    (match,) = search(store, "html templates", 5)
    assert match.marked == f"<b>{begin}HTML{end}</b> tags & C++ {begin}templates{end} (std::vector<T>)"
    for query in ("dogs", "café", "d*", '"hot dogs"', "newlines"):
        for match in search(store, query, 20):
            assert begin in match.marked
            plain = match.marked.replace(begin, "").replace(end, "")
            assert plain == TEXTS[match.index].replace("\0", " ")


def test_every_explanation_of_a_feature_is_searched_and_counts_as_one_hit(tmp_path: Path) -> None:
    extra = [(0, "u", "m", "about zebras"), (0, "v", "m", "zebras again"), (0, "w", "m", "zebras again")]
    with opened(tmp_path, ["first", "second"], *extra) as store:
        build(store, 2, Preference(("t",)))
        (match,) = search(store, "zebras", 10)
        assert (match.index, match.marked.split("\n")[0]) == (0, "first")
        assert match.marked.count("again") == 1


# -- any query --------------------------------------------------------------------------------------------------------

SYNTAX = st.text(alphabet="\"*()^:-+{}[]'\\;,.ANDORTdogs é\x00\n\u2028_\udcff", max_size=20)
ANYTHING = st.text(alphabet=st.characters(exclude_categories=()), max_size=15) | st.text(
    alphabet=st.characters(categories=["Cs", "Mn", "Me", "Cf", "No", "Nl", "Lm", "Co", "Cn", "Pc"]), max_size=5
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SYNTAX | ANYTHING, max_size=4).map(" ".join), st.integers(0, 3))
def test_any_query_at_all_gives_matches_or_a_usage_error(store: Store, query: str, limit: int) -> None:
    try:
        matches = search(store, query, limit)
    except UsageError as exc:
        assert query == "" or "nothing to search for" in str(exc)
        str(exc).encode()  # it can be printed
        return
    assert len(matches) <= limit
    assert all(isinstance(match, Match) and 0 <= match.index < len(TEXTS) for match in matches)


@pytest.mark.parametrize(
    "query",
    [
        "word " * 5000,
        "dogs " * 300,
        '"' + "dogs " * 3000 + '"',
        "x" * 100_000,
        "dog* " * 600,
        " ".join(map(str, range(2000))),
    ],
    ids=["words", "same", "phrase", "long", "prefixes", "different"],
)
def test_a_huge_query_is_answered_or_refused_in_words(store: Store, query: str) -> None:
    began = time.process_time()
    with suppress(UsageError):
        search(store, query, 5)
    assert time.process_time() - began < 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_any_text_can_be_indexed_and_its_own_first_word_finds_it(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with opened(folder, [f"needle{index} {text}" for index, text in enumerate(texts)]) as store:
        build(store, len(texts), Preference())
        for index in range(len(texts)):
            assert found(store, f"needle{index}")[:1] == [index]
    shutil.rmtree(folder)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab\0 \t\x1c\x85\u00a0\u1680\u200b\u2028\u3000\ufeff"), max_size=4))
def test_the_same_texts_count_as_blank_for_the_index_and_for_everything_else(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("blank")
    with opened(folder, [text]) as store:
        build(store, 1, Preference())
        indexed = [document for (document,) in store.query("SELECT text FROM documents")]
    assert indexed == ([text.replace("\0", " ")] if text.strip() else [])
    shutil.rmtree(folder)


def test_some_features_are_looked_up_by_feature_not_by_every_object_there_is(tmp_path: Path) -> None:
    with opened(tmp_path, []) as store:
        for table in ("features", "explanations"):
            some = f"SELECT * FROM {table} WHERE idx IN (SELECT value FROM json_each('[1, 2]')) AND {LIVE}"
            plan = " ".join(str(row[3]) for row in store.query(f"EXPLAIN QUERY PLAN {some}"))
            assert f"SEARCH {table} USING PRIMARY KEY (idx=?)" in plan


def test_a_feature_that_could_not_be_had_is_not_found_by_the_explanation_that_the_export_has_of_it(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, TEXTS) as store:
        index = len(TEXTS)
        store.commit(Answers(failed=[(index, "500")]), "2026-11-22T18:34:01Z")
        half = Rows(explanations=[(index, "t", "m", "a zebra")])
        store.commit(Answers(half, export_object=ExportObject("key", "", 1)), "2026-11-22T18:34:02Z")
        assert store.record(index).error == "500"
        build(store, index + 1, Preference())
        assert found(store, "zebra") == []


# -- on stores in any state -------------------------------------------------------------------------------------------


def test_a_store_without_an_index_is_searched_all_the_same_and_not_changed(tmp_path: Path) -> None:
    with opened(tmp_path, TEXTS) as store:
        store.settle()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    reader = Store.open_read_only(tmp_path)
    for _ in range(2):
        assert found(reader, "dogs") == [0, 14, 1, 2]
        assert found(reader, "cafe") == [4]
    reader.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_index_that_is_older_than_the_labels_is_not_used(tmp_path: Path) -> None:
    with opened(tmp_path, TEXTS) as store:
        build(store, len(TEXTS), Preference())
        assert found(store, "zebra") == []
        store.commit(Answers(Rows([(0, 1.0, 0.1, b"[]", b"[]")], [(0, "t", "m", "a zebra")])), "2026-11-22T18:34:01Z")
        assert found(store, "zebra") == [0]
        assert 0 not in found(store, "dogs")


def test_an_interrupted_run_can_be_searched(tmp_path: Path) -> None:
    world = make_world(200, odd=False)
    for index in range(200):
        plant(world, index, f"label{index} of a zebra")
    with Standin(world, faults=[Fault(Respond(401), match="POST", skip=1, times=None)]) as standin:
        done = download(standin, tmp_path, "batch", concurrency=1, batch_size=50)
    assert done.status == 3
    with open_labels(tmp_path, RELEASE, SAE_ID) as labels:
        assert {hit.index for hit in labels.search("zebra", 500)} == set(range(50))
        assert [hit.description for hit in labels.search("label17")] == ["label17 of a zebra"]


def test_a_store_that_is_being_written_can_be_searched(tmp_path: Path) -> None:
    with opened(tmp_path, TEXTS) as writer:
        build(writer, len(TEXTS), Preference())
        reader = Store.open_read_only(tmp_path)
        with writer.transaction() as connection:
            connection.execute("DELETE FROM explanations")
            assert found(reader, "dogs") == [0, 14, 1, 2]
        reader.close()


def test_a_damaged_index_is_an_error_in_words(tmp_path: Path) -> None:
    with opened(tmp_path, TEXTS) as store:
        build(store, len(TEXTS), Preference())
        store.settle()
        store.connection.execute("DROP TABLE documents")
        with pytest.raises(StoreError):
            search(store, "dogs", 5)


def test_the_downloaded_labels_of_an_sae_are_found(tmp_path: Path) -> None:
    world = make_world(400)
    plant(world, 77, explain("a needle in a haystack"), explain("something else", "np_max-act-logits"))
    with Standin(world, lean=True) as standin:
        download(standin, tmp_path, "export")
    store = Store.open_read_only(sae_folder(tmp_path, RELEASE, SAE_ID))
    assert found(store, "haystack needle") == [77]
    assert store.meta("searchable") == store.generation
    store.close()


def test_a_word_that_very_many_labels_hold_is_still_ranked_by_length(tmp_path: Path) -> None:
    texts = ["zebra" + " filler" * (1 + (index * 7919) % 97) for index in range(search_module.POOL * 4)]
    with opened(tmp_path, texts) as store:
        build(store, len(texts), Preference())
        lengths = [len(texts[index]) for index in found(store, "zebra", 30)]
        assert lengths == sorted(map(len, texts))[:30]
        assert len(found(store, "zebra", 10**6)) == len(texts)
