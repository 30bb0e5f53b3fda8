"""`open_labels`: the labels as a sequence."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness import RELEASE, SAE_ID, SOURCE, Download, download, explain, make_world, plant

import saefetch
from saefetch import open_labels
from saefetch.errors import StoreError, UsageError
from saefetch.explanations import Explanation
from saefetch.labels import Hit, Label, Labels
from standin import Fault, Record, Respond, Standin

N = 260


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Download:
    world = make_world(N, missing={9})
    plant(world, 3, explain("dogs and cats"), explain("a better one about dogs", "np_max-act-logits"))
    plant(world, 4, " ")
    with Standin(world) as standin:
        return download(standin, tmp_path_factory.mktemp("sae"), "batch")


@pytest.fixture
def labels(done: Download) -> Labels:
    return open_labels(done.folder.parents[1], RELEASE, SAE_ID)


def test_a_label_says_what_the_published_file_says(done: Download, labels: Labels) -> None:
    for index, label in enumerate(labels):
        entry = done.features[str(index)]
        assert label.index == index
        assert label.description == entry["description"]
        assert list(label.top_positive_tokens) == entry["top_positive_tokens"]
        assert list(label.top_negative_tokens) == entry["top_negative_tokens"]
        assert label.max_activation == entry["max_activation"]
        assert label.error == entry.get("error")
        assert bool(label.explanations) == entry["has_explanations"]
        if "all_descriptions" in entry:
            assert [e.text for e in label.explanations] == entry["all_descriptions"]


def test_the_fields_of_a_label(labels: Labels) -> None:
    label = labels[3]
    assert label == Label(
        index=3,
        description="a better one about dogs",
        explanations=(
            Explanation("a better one about dogs", "np_max-act-logits", "gpt-4o-mini"),
            Explanation("dogs and cats", "oai_token-act-pair", "gpt-4o-mini"),
        ),
        top_positive_tokens=(" a", "b"),
        top_negative_tokens=("c",),
        max_activation=1.5,
        frac_nonzero=0.01,
        error=None,
    )
    assert (labels[4].description, [e.text for e in labels[4].explanations]) == (None, [" "])
    assert (labels[9].description, labels[9].error) == (None, "not on Neuronpedia")
    assert len({label, labels[3]}) == 1
    with pytest.raises(AttributeError):
        label.description = "x"  # type: ignore[misc]


def test_it_is_a_sequence(labels: Labels) -> None:
    assert isinstance(labels, Sequence)
    assert len(labels) == N
    whole = list(labels)
    assert [label.index for label in whole] == list(range(N))
    assert list(reversed(labels)) == whole[::-1]
    assert whole[5] in labels
    assert labels.index(whole[7]) == 7
    assert labels[-1] == whole[-1] == labels[N - 1]
    assert labels[-N] == whole[0]


@pytest.mark.parametrize("index", [N, -N - 1, 10**12, -(10**12)])
def test_an_index_beyond_the_ends_is_an_index_error_that_says_how_many_there_are(labels: Labels, index: int) -> None:
    with pytest.raises(IndexError, match=f"feature {index} is not among the {N} of gemma-2-2b/{SOURCE}"):
        labels[index]


def test_an_index_that_is_no_number_is_a_type_error(labels: Labels) -> None:
    with pytest.raises(TypeError):
        labels["3"]  # type: ignore[call-overload]


def test_slices_are_those_of_a_list(labels: Labels) -> None:
    whole = list(labels)
    ends = [None, 0, 1, 5, N - 1, N, N + 5, -1, -3, -N - 7]
    for start, stop in itertools.product(ends, ends):
        assert labels[start:stop] == whole[start:stop], (start, stop)
    for step in (2, 7, -1, -50, N):
        assert labels[::step] == whole[::step]
        assert labels[200:3:step] == whole[200:3:step]
    with pytest.raises(ValueError, match="zero"):
        labels[::0]


def test_two_iterations_and_a_lookup_do_not_disturb_each_other(labels: Labels) -> None:
    for a, b in zip(labels, labels, strict=True):
        assert a == b
        if a.index % 40 == 0:
            assert labels[(a.index * 7) % N].index == (a.index * 7) % N
            labels.search("dogs")


def test_picked_labels_are_those_that_a_look_at_each_gives(labels: Labels) -> None:
    wanted = [200, 3, 9, 4, 3, 0, N - 1]
    assert labels.pick(wanted) == {index: labels[index] for index in wanted}
    assert labels.pick([]) == {}
    for outside in (-1, N):
        with pytest.raises(IndexError, match=f"among the {N}"):
            labels.pick([0, outside])


def test_a_search_gives_hits_with_their_labels(labels: Labels) -> None:
    hits = labels.search("dogs cats")
    assert isinstance(hits[0], Hit)
    assert (hits[0].index, hits[0].description, hits[0].label) == (3, "a better one about dogs", labels[3])
    assert "\x02dogs\x03 and \x02cats\x03" in hits[0].marked
    assert len(labels.search("references", limit=3)) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    with pytest.raises(UsageError):
        labels.search(" ")


def test_to_pandas_has_a_row_for_each_feature(labels: Labels) -> None:
    frame = labels.to_pandas()
    assert len(frame) == N
    assert (frame.index.name, list(frame.index)) == ("feature", list(range(N)))
    assert frame.loc[3, "description"] == "a better one about dogs"
    assert frame.loc[3, "top_positive_tokens"] == (" a", "b")
    assert frame.loc[3, "max_activation"] == 1.5
    assert frame.loc[9, "error"] == "not on Neuronpedia"
    assert frame.loc[4, "description"] is None or frame.isna().loc[4, "description"]
    assert frame["frac_nonzero"].dtype.kind == "f"
    assert "dogs" in frame[frame.description.str.contains("dogs", na=False)].description[3]


def test_it_says_what_it_is_and_closes(done: Download) -> None:
    with open_labels(done.folder.parents[1], RELEASE, SAE_ID) as labels:
        assert (labels.release, labels.sae_id, labels.neuronpedia_id) == (RELEASE, SAE_ID, f"gemma-2-2b/{SOURCE}")
        assert repr(labels) == f"<Labels of {RELEASE} {SAE_ID}: {N} features of gemma-2-2b/{SOURCE}>"
    with pytest.raises(StoreError):
        labels[0]


def test_the_defaults_are_the_default_sae_and_text_will_do_for_the_folder(done: Download) -> None:
    with open_labels(str(done.folder.parents[1])) as labels:
        assert len(labels) == N


def test_a_folder_without_labels_is_an_error_with_the_command_that_gets_them(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_labels(tmp_path / "nowhere", "some-release", "some/sae")
    assert "saefetch download --sae-release some-release --sae-id some/sae" in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sae_id", ["../../etc", "/etc", "a//b", "", "a/../b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, sae_id: str) -> None:
    with pytest.raises(UsageError):
        open_labels(tmp_path, RELEASE, sae_id)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one" * 30])
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / RELEASE / SAE_ID.replace("/", "_")
    folder.mkdir(parents=True)
    (folder / "labels.sqlite").write_bytes(content)
    with pytest.raises(StoreError):
        open_labels(tmp_path, RELEASE, SAE_ID)
    assert (folder / "labels.sqlite").read_bytes() == content


def test_a_run_that_was_killed_before_it_published_is_read_with_the_preference_of_its_settings(tmp_path: Path) -> None:
    world = make_world(100)
    several = (explain("null names", None, None), explain("listed", "np_max-act-logits"), explain("aaa", "unlisted"))
    for index in range(100):
        plant(world, index, *several)
    # The copy is what a power cut at the second batch would leave: the log was not folded in, nothing was published.
    copied = tmp_path / "copied"

    def copy_the_folder(record: Record) -> bool:
        if len(record.json()) == 50 and record.json()[0]["index"] == 50:
            shutil.copytree(tmp_path / "sae", copied)
        return False

    with Standin(world, faults=[Fault(Respond(500), match=copy_the_folder)]) as standin:
        done = download(standin, tmp_path / "sae", "batch", concurrency=1, batch_size=50)
    with open_labels(copied, RELEASE, SAE_ID) as labels:
        assert not list(copied.rglob("*.json"))
        assert labels[60].error == "not downloaded yet"
        assert labels[7].description == done.features["7"]["description"] == "listed"
        assert [e.text for e in labels[7].explanations] == done.features["7"]["all_descriptions"]
        assert labels.search("listed")[0].index == 0


def test_a_preference_of_nothing_prefers_no_null_type_either(tmp_path: Path) -> None:
    world = make_world(20)
    plant(world, 3, explain("zzz", None, None), explain("aaa"))
    with Standin(world) as standin:
        done = download(standin, tmp_path, "batch", explanation_types=(), explanation_models=())
    with open_labels(tmp_path, RELEASE, SAE_ID) as labels:
        assert labels[3].description == done.features["3"]["description"] == "aaa"


def test_reading_changes_nothing_in_the_folder(done: Download) -> None:
    before = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    with open_labels(done.folder.parents[1]) as labels:
        list(labels)
        labels.search("dogs")
    assert {path.name: path.read_bytes() for path in done.folder.iterdir()} == before


def test_the_package_is_typed_and_exports_what_it_says() -> None:
    assert (Path(saefetch.__file__).parent / "py.typed").is_file()
    assert all(hasattr(saefetch, name) for name in saefetch.__all__)
    assert "open_labels" in saefetch.__all__


def test_the_file_and_the_api_agree_after_a_json_round_trip(done: Download, labels: Labels) -> None:
    texts = [label.description for label in labels]
    assert json.loads(json.dumps(texts)) == done.descriptions
