"""How many features an SAE has, as far as its names alone prove it (used when the table is built).

SAELens' YAML has no widths; SAELens reads most of them from files on Hugging Face. A rule is here only if it cannot be
wrong: SAELens' own loader uses it, or the authors state it. All rules that fit an SAE must agree. If they do not, or
if none fits, the width stays empty and the program asks the server.

Left empty on purpose, because no name says it: the end-to-end SAEs (`gpt2-small-res_*-ajt`), `pythia-70m-deduped-*-sm`,
`llama-3-8b-it-res-jh`, `*-andyrdt`, `temporal-sae-*`, `mwhanna-*` and `mntss-*` ("2.5M" is the total of 26 layers).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

# "16k" is a power of two in all of these, 2**14 and never 16,000: the same names and numbers as `width_map` in
# SAELens' get_gemma_2_config_from_hf. 128k is OpenAI's name for what Google calls 131k (see v5_128k below).
SIZES = {
    "4k": 2**12,
    "16k": 2**14,
    "32k": 2**15,
    "65k": 2**16,
    "128k": 2**17,
    "131k": 2**17,
    "262k": 2**18,
    "524k": 2**19,
    "1m": 2**20,
}


class Names(NamedTuple):
    """What the YAML says about one SAE."""

    sae_id: str
    path: str
    repo_id: str
    source: str  # of the Neuronpedia id


class Rule(NamedTuple):
    """Where a name fits the pattern, the first group gives the width."""

    name: str
    pattern: str
    width: Callable[[str], int | None]
    reason: str


RULES = (
    Rule("path", r"\bwidth_(\d+[km])(?=[/_]|$)", SIZES.get, "GemmaScope 1 and 2: `width_map` of SAELens' loader"),
    Rule("sae_id", r"\bwidth_(\d+[km])(?=[/_]|$)", SIZES.get, "the same: a canonical SAE's id and path must agree"),
    Rule(
        "source",
        r"^\d+-(?:gemmascope(?:-2)?|llamascope|sae_bench|qresearch)-(?:[a-z0-9]+-)*(\d+[km])(?=__|$)",
        SIZES.get,
        "Neuronpedia's sources of these series end in the size, before `__` and the variant. Where SAELens says the"
        " width too (width_*, 2pow*, the loader for qresearch), the two agree",
    ),
    Rule("repo_id", r"_width-2pow(\d+)_", lambda power: 2 ** int(power), "SAEBench: the power of two is spelled out"),
    Rule("path", r"^v5_(32k|128k)_layer_", SIZES.get, "OpenAI's sparse_autoencoder/paths.py: 2**15 and 2**17 latents"),
    Rule("repo_id", r"-matryoshka-saes-w-(32k)-l0-", SIZES.get, "model card: nested widths 128, 512, ..., 32768"),
    Rule(
        "path",
        r"^Llama3_1-8B-Base-L\d+[AMR]-(\d+)x$",
        lambda factor: 4096 * int(factor),
        "LlamaScope: a multiple of d_model, which is the input's width at all three positions",
    ),
    Rule("sae_id", r"\.hook_resid_pre_(\d+)$", int, "gpt2-small-res-jb-feature-splitting: the ids end in the width"),
    Rule("path", r"\.hook_resid_post_(\d+)(?=_|$)", int, "gemma-2b-res-jb and -it-: cfg.json says d_sae 16384 too"),
    Rule("path", r"_Hcat_z_.*_ds(\d+)_", int, "gpt2-small-hook-z-kk: ds is dict_size, which SAELens' loader reads"),
    Rule("repo_id", r"^(Goodfire)/", lambda _: 65536, "written out in SAELens' get_goodfire_config_from_hf"),
    Rule("repo_id", r"^(qresearch)/", lambda _: 4096 * 16, "written out in SAELens' get_deepseek_r1_config_from_hf"),
    # Model card of jbloom/GPT2-Small-SAEs: expansion factor 32 of d_model 768, files named ..._24576.pt, and the
    # weights' file sizes say the same. It speaks of hook_resid_pre; the one hook_resid_post SAE came later.
    Rule("path", r"^(blocks\.\d+\.hook_resid_pre)$", lambda _: 24576, "gpt2-small-res-jb"),
)


def width_of(names: Names) -> int | None:
    """Return the width that every rule that fits gives, or None."""
    widths = {rule.width(found[1]) for rule in RULES if (found := re.search(rule.pattern, getattr(names, rule.name)))}
    return widths.pop() if len(widths) == 1 else None
