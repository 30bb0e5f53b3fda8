"""Names become folders and addresses, so no accepted name may lead anywhere else."""

import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from saefetch.errors import UsageError
from saefetch.names import registry
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, MAX_FEATURES, Target, resolve, sae_folder

NASTY = st.text(
    st.sampled_from(string.ascii_letters + string.digits + "._-+=,@~/\\ %?#&:;*[]'\"\n\0\x1b\u202eé٣"), max_size=12
)
NAMES = NASTY | st.from_regex(r"[a-z0-9._~/-]{1,9}", fullmatch=True) | st.sampled_from(["..", ".", "a/..", "a//b", "~"])


@given(release=NAMES, sae_id=NAMES)
def test_no_accepted_name_leaves_the_data_folder(release: str, sae_id: str) -> None:
    try:
        folder = sae_folder(Path("/data/sae"), release, sae_id)
    except UsageError:
        return
    assert folder.parts[:3] == ("/", "data", "sae") and len(folder.parts) == 5
    assert folder.resolve() == folder
    assert not folder.name.startswith((".", "-")) and not folder.parent.name.startswith((".", "-"))
    assert str(folder).isprintable() and str(folder).isascii()


PART = st.text(st.sampled_from("ab0._-+=,@~%&?#; "), min_size=1, max_size=4)


@given(neuronpedia_id=NAMES | st.tuples(PART, PART).map("/".join))
@example("a%41/b")
@example("a/%2e%2e")
def test_no_accepted_neuronpedia_id_breaks_an_address(neuronpedia_id: str) -> None:
    try:
        (target,) = resolve("r", "s", neuronpedia_id, None)
    except UsageError:
        return
    url = URL(f"https://host/api/feature/{target.neuronpedia_id}/7")
    assert url.path == f"/api/feature/{target.model_id}/{target.source_id}/7"
    assert url.raw_path.count("/") == 5 and not url.query_string and not url.fragment and url.host == "host"
    assert str(url) == f"https://host/api/feature/{target.neuronpedia_id}/7", (
        "nothing is quoted, nothing is normalized away"
    )


def test_every_name_of_the_registry_is_accepted() -> None:
    folders = set()
    for sae in registry.all_saes():
        (target,) = resolve(sae.release, sae.sae_id, sae.neuronpedia_id, None)
        folders.add(target.folder(Path("sae")))
    assert len(folders) == len(registry.all_saes()), "no two SAEs share a folder"


def test_nothing_given_means_the_default_sae() -> None:
    assert resolve(None, None, None, None) == [
        Target(DEFAULT_RELEASE, DEFAULT_SAE_ID, "gemma-2-2b/16-gemmascope-res-16k", 16_384)
    ]


def test_a_pattern_means_every_sae_that_matches_in_natural_order() -> None:
    targets = resolve(DEFAULT_RELEASE, "layer_*/width_16k/canonical", None, None)
    assert [target.neuronpedia_id for target in targets] == [f"gemma-2-2b/{n}-gemmascope-res-16k" for n in range(26)]


def test_a_neuronpedia_id_alone_finds_the_sae_of_the_registry() -> None:
    (target,) = resolve(None, None, "gemma-2-2b/5-gemmascope-res-16k", None)
    assert (target.release, target.sae_id, target.d_sae) == (
        DEFAULT_RELEASE,
        "layer_5/width_16k/canonical",
        16_384,
    )


def test_a_neuronpedia_id_that_the_registry_does_not_know_names_the_folder_itself() -> None:
    (target,) = resolve(None, None, "my-model/3-my-sae", None)
    assert target.folder(Path("sae")) == Path("sae/my-model/3-my-sae") and target.d_sae is None


@pytest.mark.parametrize(
    "page",
    [
        "https://www.neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k",
        "https://www.neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k/",
        "https://neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k/42?embed=true&x=a/b#top",
        "http://localhost:3000/gemma-2-2b/5-gemmascope-res-16k/42",
        "www.neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k",
        "NEURONPEDIA.org/gemma-2-2b/5-gemmascope-res-16k",
        "https://www.neuronpedia.org/api/feature/gemma-2-2b/5-gemmascope-res-16k/42",
        "gemma-2-2b/5-gemmascope-res-16k/42",
        " gemma-2-2b/5-gemmascope-res-16k\n",
    ],
)
def test_the_address_of_a_page_names_its_sae(page: str) -> None:
    assert resolve(None, None, page, None) == resolve(None, None, "gemma-2-2b/5-gemmascope-res-16k", None)


@pytest.mark.parametrize(
    "page",
    [
        "https://www.neuronpedia.org/gemma-2-2b",
        "https://www.neuronpedia.org/",
        "neuronpedia.org/gemma-2-2b",
        "https://www.neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k/42/43",
        "https://user@host/gemma-2-2b/5-gemmascope-res-16k",
        "ftp://www.neuronpedia.org/gemma-2-2b/5-gemmascope-res-16k",
    ],
)
def test_an_address_that_names_no_sae_is_refused(page: str) -> None:
    with pytest.raises(UsageError, match="MODEL/SOURCE, or the address of its page"):
        resolve(None, None, page, None)


def test_a_source_set_is_not_taken_for_an_sae() -> None:
    with pytest.raises(UsageError, match=r"a set of 26 SAEs; name one of them, such as .* gemma-2-2b/0-gemmascope-res"):
        resolve(None, None, "https://www.neuronpedia.org/gemma-2-2b/gemmascope-res-16k", None)


def test_a_repository_of_the_hub_is_a_release_and_one_folder() -> None:
    (target,) = resolve("owner/saes", "layer_3/width_2k", "my-model/3-my-sae", None)
    assert target.release == "owner/saes" and target.folder(Path("sae")) == Path("sae/owner_saes/layer_3_width_2k")
    with pytest.raises(UsageError):
        resolve("owner/saes/more", "layer_3", "my-model/3-my-sae", None)


def test_a_width_that_is_given_wins_over_the_registry() -> None:
    assert resolve(None, None, None, 7)[0].d_sae == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (DEFAULT_RELEASE, "layer_16/width_16k/cannonical", None, None),
            "Did you mean --sae-id layer_16/width_16k/canonical",
        ),
        (
            ("gemma-scope-2b-pt-res-canonica", DEFAULT_SAE_ID, None, None),
            f"Did you mean --sae-release {DEFAULT_RELEASE} ",
        ),
        ((DEFAULT_RELEASE, "layer_*/width_3k/*", None, None), "maps no SAE"),
        (("gemma-scope-2b-pt-mlp-canonical", None, None, None), "needs --sae-id"),
        ((None, "x", "a/b", None), "both --sae-release and --sae-id"),
        (("r", "*", "a/b", None), "is a pattern for many"),
        ((None, None, "a/b/c", None), "expected MODEL/SOURCE"),
        ((None, None, None, 0), "--num-features must be from 1"),
        ((None, None, None, MAX_FEATURES + 1), "--num-features must be from 1"),
    ],
)
def test_what_nobody_can_mean_is_refused_with_a_hint(arguments: tuple[str, str, str, int], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(*arguments)
    assert said in str(caught.value) and "\n" not in str(caught.value)
