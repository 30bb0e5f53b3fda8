"""The shipped table and the lookups in it."""

import importlib.util
import re
import subprocess
import sys

import pytest

from saefetch.names.registry import (
    Sae,
    all_saes,
    by_neuronpedia_id,
    find,
    is_pattern,
    match,
    search,
    search_everything,
    suggest,
)
from saefetch.names.registry.build import build_tables
from saefetch.names.registry.everything import everything, unpacked
from saefetch.names.registry.hooks import hook_of
from saefetch.names.registry.table import TABLE_PATH, parse, render
from saefetch.names.registry.widths import Names, width_of

RELEASE = "gemma-scope-2b-pt-res-canonical"
SAE_ID = "layer_16/width_16k/canonical"


def names(sae_id: str = "", path: str = "", repo_id: str = "", source: str = "") -> Names:
    return Names(sae_id, path, repo_id, source)


def test_the_committed_tables_are_what_the_installed_sae_lens_gives() -> None:
    if importlib.util.find_spec("sae_lens") is None or importlib.util.find_spec("yaml") is None:
        pytest.skip("sae-lens or PyYAML is not installed, so the table cannot be built again")
    assert (TABLE_PATH.read_text(encoding="utf-8"), unpacked()) == build_tables(), (
        "run `python -m saefetch.names.registry.build`"
    )


def test_a_lookup_imports_neither_sae_lens_nor_a_fuzzy_matcher() -> None:
    code = (
        f"import sys; from saefetch.names.registry import find; assert find({RELEASE!r}, {SAE_ID!r}) is not None;"
        "print({'sae_lens', 'yaml', 'torch', 'numpy', 'rapidfuzz', 'difflib'} & set(sys.modules) or 'none')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "none"


def test_the_default_sae_resolves() -> None:
    assert find(RELEASE, SAE_ID) == Sae(RELEASE, SAE_ID, "gemma-2-2b/16-gemmascope-res-16k", 16384, "gemma-2-2b")


def test_every_sae_is_found_by_its_names_and_by_its_neuronpedia_id() -> None:
    saes = all_saes()
    assert len(saes) == 2441
    assert len({sae.neuronpedia_id for sae in saes}) == len(saes)
    for sae in saes[::25] + saes[-1:]:
        assert find(sae.release, sae.sae_id) == sae
        assert by_neuronpedia_id(sae.neuronpedia_id) == sae


def test_every_neuronpedia_id_is_model_slash_source() -> None:
    for sae in all_saes():
        assert re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", sae.neuronpedia_id), sae


def test_no_id_looks_like_a_pattern() -> None:
    assert not any(is_pattern(sae.sae_id) for sae in all_saes())


@pytest.mark.parametrize(
    ("release", "sae_id"),
    [
        ("", ""),
        (RELEASE, ""),
        (RELEASE, SAE_ID + "\t"),
        (RELEASE[:-1], SAE_ID),
        ("@" + RELEASE, SAE_ID),
        (RELEASE, "@"),
    ],
)
def test_an_unknown_name_finds_nothing(release: str, sae_id: str) -> None:
    assert find(release, sae_id) is None


def test_an_unknown_neuronpedia_id_finds_nothing() -> None:
    assert by_neuronpedia_id("gemma-2-2b/99-gemmascope-res-16k") is None


def test_a_pattern_gives_the_26_layers_in_natural_order() -> None:
    assert is_pattern("layer_*/width_16k/canonical")
    found = match(RELEASE, "layer_*/width_16k/canonical")
    assert [sae.sae_id for sae in found] == [f"layer_{layer}/width_16k/canonical" for layer in range(26)]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("*", 58), (SAE_ID, 1), ("layer_1?/width_16k/canonical", 10), ("layer_[0-3]/width_16k/*", 4), ("LAYER_*", 0)],
)
def test_patterns_are_those_of_fnmatch_and_keep_case(pattern: str, count: int) -> None:
    assert len(match(RELEASE, pattern)) == count


def test_a_pattern_in_an_unknown_release_matches_nothing() -> None:
    assert match("gemma-scope-2b-pt-res-canonica", "*") == []


def test_a_search_for_nothing_lists_everything() -> None:
    assert search(None) == search("") == search("  ") == all_saes()


def test_every_word_of_a_search_must_occur() -> None:
    found = search("Gemma-Scope  LAYER_16/ res-16k")
    assert find(RELEASE, SAE_ID) in found
    assert all("gemma-scope" in sae.release and "res-16k" in sae.neuronpedia_id for sae in found)
    assert search("gemma-scope no-such-word") == []


def test_a_search_looks_into_the_base_model_and_the_neuronpedia_id() -> None:
    assert {sae.release for sae in search("openai/gpt-oss")} == {"gpt-oss-20b-andyrdt"}
    assert search("gemma-2-2b/16-gemmascope-res-16k")[0] == find(RELEASE, SAE_ID)


@pytest.mark.parametrize(
    ("query", "count"),
    [("gemma-2-2b/*-gemmascope-res-16k", 26), (f"{RELEASE}/layer_16/*", 2), ("gemma-scope-2b-*-canonical mlp", 52)],
)
def test_a_glob_in_a_search_matches_a_whole_name(query: str, count: int) -> None:
    assert len(search(query)) == count


@pytest.mark.parametrize(
    ("release", "sae_id", "first"),
    [
        (RELEASE, "layer_26/width_16k/canonical", (RELEASE, "layer_25/width_16k/canonical")),
        (RELEASE, "layer_16/width_128k/canonical", (RELEASE, "layer_16/width_65k/canonical")),
        (RELEASE, "layer_16/width_16/canonical", (RELEASE, SAE_ID)),
        (RELEASE, "layer16/width_16k/cannonical", (RELEASE, SAE_ID)),
        (RELEASE, "layer_16/width_16k", (RELEASE, SAE_ID)),
        (RELEASE.upper(), SAE_ID.upper(), (RELEASE, SAE_ID)),
        ("gemma-scope-2b-pt-res", SAE_ID, (RELEASE, SAE_ID)),
        ("gemmascope-2b-pt-res-cannonical", SAE_ID, (RELEASE, SAE_ID)),
        ("gpt2-small-resjb", "blocks.8.resid_pre", ("gpt2-small-res-jb", "blocks.8.hook_resid_pre")),
        ("llama-scope-lxr-8x", "15r_8x", ("llama_scope_lxr_8x", "l15r_8x")),
        ("qwen3-4b-transcoders", "layer_36", ("mwhanna-qwen3-4b-transcoders", "layer_35")),
        ("gemma-2-2b", "16-gemmascope-res-16k", (RELEASE, SAE_ID)),
        ("no idea", "gemma-2-2b/16-gemmascope-res-16k", (RELEASE, SAE_ID)),
    ],
)
def test_the_first_suggestion_is_what_was_meant(release: str, sae_id: str, first: tuple[str, str]) -> None:
    nearest = suggest(release, sae_id)[0]
    assert (nearest.release, nearest.sae_id) == first


def test_a_layer_that_does_not_exist_suggests_the_nearest_layers_and_only_as_many_as_asked() -> None:
    found = suggest(RELEASE, "layer_26/width_16k/canonical", n=3)
    assert [sae.sae_id for sae in found] == [f"layer_{layer}/width_16k/canonical" for layer in (25, 24, 23)]
    assert suggest(RELEASE, "layer_26/width_16k/canonical", n=1) == found[:1]


@pytest.mark.parametrize(("release", "sae_id"), [("", ""), ("foo", "bar"), ("9" * 10_000, "\N{ROCKET}")])
def test_nonsense_suggests_nothing(release: str, sae_id: str) -> None:
    assert suggest(release, sae_id) == []


@pytest.mark.parametrize(
    ("release", "sae_id", "width"),
    [
        (RELEASE, "layer_12/width_1m/canonical", 2**20),
        ("gemma-scope-9b-pt-res-canonical", "layer_20/width_131k/canonical", 2**17),
        ("gpt2-small-res-jb", "blocks.8.hook_resid_pre", 24576),
        ("gpt2-small-res-jb-feature-splitting", "blocks.8.hook_resid_pre_1536", 1536),
        ("gpt2-small-resid-post-v5-128k", "blocks.0.hook_resid_post", 2**17),
        ("gpt2-small-hook-z-kk", "blocks.5.hook_z", 49152),
        ("llama_scope_lxm_8x", "l15m_8x", 2**15),
        ("sae_bench_gemma-2-2b_topk_width-2pow12_date-1109", "blocks.5.hook_resid_post__trainer_0", 4096),
        ("goodfire-llama-3.1-8b-instruct", "layer_19", 65536),
        ("mwhanna-qwen3-4b-transcoders", "layer_0", None),
    ],
)
def test_widths_are_known_exactly_or_not_at_all(release: str, sae_id: str, width: int | None) -> None:
    sae = find(release, sae_id)
    assert sae is not None
    assert sae.d_sae == width


def test_names_that_disagree_about_the_width_leave_it_open() -> None:
    assert width_of(names(path="layer_2/width_16k/average_l0_8", source="2-gemmascope-res-16k__l0-8")) == 2**14
    assert width_of(names(path="layer_2/width_16k/average_l0_8", source="20-gemmascope-res-131k__l0-10")) is None


def test_a_number_that_is_no_width_is_not_taken_for_one() -> None:
    assert width_of(names(path="0-Slimpajama-800M-OpenR1-Math-220k/L0R", repo_id="mntss/clt-gemma-2-2b-2.5M")) is None
    assert width_of(names(path="layer_0/width_7k/average_l0_8")) is None


def test_the_table_survives_a_round_trip_in_natural_order_whatever_the_order_given() -> None:
    saes = [
        Sae("r-2b", "layer_2", "np/2-a", None, "model"),
        Sae("r-2b", "layer_10", "np/10-a", 16384, "model"),
        Sae("r-10b", "x", "np-10/x", 1, "other"),
    ]
    text = render(reversed(saes), "a comment\nof two lines")
    assert text == render(saes, "a comment\nof two lines")
    assert list(parse(text)) == saes


def test_the_table_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(ValueError, match="several models"):
        render([Sae("r", "a", "np/a", None, "model"), Sae("r", "b", "other/b", None, "model")], "comment")
    with pytest.raises(ValueError, match="heading"):
        render([Sae("r", "@a", "np/a", None, "model")], "comment")


def test_everything_holds_every_sae_of_saelens_and_agrees_with_the_table_of_labels() -> None:
    assert len(everything()) == 13_857
    mapped = [sae for sae in everything() if sae.neuronpedia_id]
    assert [(sae.release, sae.sae_id, sae.neuronpedia_id, sae.d_sae, sae.model) for sae in mapped] == [
        (sae.release, sae.sae_id, sae.neuronpedia_id, sae.d_sae, sae.model) for sae in all_saes()
    ]


def test_a_search_of_everything_looks_at_loaders_and_hooks_too() -> None:
    found = search_everything("qwen_scope blocks.27.hook_resid_post w32k-l50 3-1.7b")
    assert [(sae.sae_id, sae.neuronpedia_id) for sae in found] == [("layer27", None)]
    assert search("qwen_scope") == []


@pytest.mark.parametrize(
    ("loader", "given", "hook"),
    [
        (
            "gemma_2",
            names(path="layer_3/width_16k/average_l0_9", repo_id="google/gemma-scope-2b-pt-res"),
            "blocks.3.hook_resid_post",
        ),
        (
            "gemma_2",
            names(path="embedding/width_4k/average_l0_6", repo_id="google/gemma-scope-2b-pt-res"),
            "hook_embed",
        ),
        (
            "gemma_2",
            names(path="layer_3/width_16k/average_l0_9", repo_id="google/gemma-scope-9b-pt-att"),
            "blocks.3.attn.hook_z",
        ),
        ("gemma_3", names(path="transcoder_all/layer_9_width_262k_l0_small_affine"), "blocks.9.hook_mlp_in"),
        ("gemma_3", names(path="attn_out/layer_9_width_16k_l0_small"), "blocks.9.attn.hook_z"),
        ("sae_lens", names(sae_id="blocks.8.hook_resid_pre_768"), "blocks.8.hook_resid_pre"),
        ("sae_lens", names(sae_id="layer_8"), None),
        ("llama_scope", names(sae_id="l0r_8x", path="Llama3_1-8B-Base-L0R-8x"), None),
    ],
)
def test_a_hook_is_what_saelens_makes_of_the_names_or_open(loader: str, given: Names, hook: str | None) -> None:
    assert hook_of(loader, given) == hook


def test_the_hooks_of_gemma_scope_are_those_that_saelens_gives() -> None:
    loaders = pytest.importorskip("sae_lens.loading.pretrained_sae_loaders")
    for sae in [sae for sae in everything() if sae.loader == "gemma_2" and "canonical" not in sae.release][::97]:
        cfg = loaders.get_gemma_2_config_from_hf(f"google/{sae.release}", sae.sae_id, "cpu")
        assert cfg["hook_name"] == sae.hook_name, sae
