"""The demo's parts that need no transformer; the files that the repository carries for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dashboard.demo.captures import file_name
from dashboard.demo.published import D_SAE, FEATURES, HUB, NEURONPEDIA_ID, SAE_ID, Published, write_features
from dashboard.demo.texts import BOOKS, LEAST_SHOWN_CHARACTERS, MOST_CHARACTERS, N_HELD_OUT, shown_texts, studied_texts
from encoder.load import load_sae
from saefetch.standin import World


def test_texts_that_are_shown_were_not_studied() -> None:
    shown, studied = shown_texts(), studied_texts()
    n_shown = Counter(text.book for text in shown)
    assert list(n_shown) == list(BOOKS)
    assert all(0.6 * N_HELD_OUT[book] < n_shown[book] <= N_HELD_OUT[book] for book in BOOKS)
    assert not {text.prompt for text in shown} & {text.prompt for text in studied}
    names = [(text.book, file_name(text.prompt)) for text in shown]
    assert len(set(names)) == len(names) and all(name.isascii() for _, name in names)


def test_texts_are_plain_and_short_enough_to_be_read_in_one_go() -> None:
    assert min(len(text.response) for text in shown_texts()) >= LEAST_SHOWN_CHARACTERS
    for text in [*shown_texts(), *studied_texts()]:
        assert 0 < len(text.response) <= MOST_CHARACTERS and text.response == text.response.strip()
        assert text.prompt.strip() and text.prompt.endswith("\n")
        assert text.book == "manual" or not {"<", "&nbsp;"} & set(text.response)


def test_what_is_published_is_of_one_sae() -> None:
    sae = load_sae(None, None, HUB / SAE_ID)
    assert (sae.d_in, sae.d_sae, sae.identity["neuronpedia_id"]) == (384, D_SAE, NEURONPEDIA_ID)
    assert sae.rule is not None
    world = World()
    world.add_source(*NEURONPEDIA_ID.split("/"), D_SAE)
    world.plant(FEATURES)
    features = [world.feature(*NEURONPEDIA_ID.split("/"), index) for index in range(D_SAE)]
    labels = [e.description for feature in features if feature for e in feature.explanations]
    assert len(labels) > 0.8 * D_SAE and all(labels)
    for feature in features:
        assert feature is not None and (feature.max_act_approx == 0) == (feature.frac_nonzero == 0)


def test_features_are_written_the_same_each_time(tmp_path: Path) -> None:
    features = [Published("“of” after “king”", ["of"], ["x"], 3.21, 0.01), Published(None, [], [], 0.0, 0.0)]
    for name in ("a", "b"):
        write_features(tmp_path / name, features)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    world = World()
    world.add_source(*NEURONPEDIA_ID.split("/"), 2)
    world.plant(tmp_path / "a")
    first, second = (world.feature(*NEURONPEDIA_ID.split("/"), index) for index in range(2))
    assert first is not None and [e.description for e in first.explanations] == ["“of” after “king”"]
    assert second is not None and second.explanations == ()
