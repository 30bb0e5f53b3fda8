"""Where in a model activations were taken: the many names of the same place, made comparable.

    blocks.16.hook_resid_post                     TransformerLens
    model.layers.16, transformer.h.16, layers.16  modules of transformers, whose output is meant
    model.layers.16.output, ...self_attn.o_proj.input    Gemma Scope 2
    hidden_states[17], hidden_states.17           transformers' output: element i + 1 is the output of block i
    layer=16,component=residual                   a capture, and --select
    resid_post_layer_16, resid_16_out, layer_16   folders
    L16R                                          Llama Scope
    16-gemmascope-res-16k                         Neuronpedia

A place is a layer and a site; a name may tell one of them or none. The residual stream between two blocks has two
names, the output of the one and the input of the next; the site here is always the output.

The last element of `hidden_states` has been through the final norm, so it is the output of no block. It is known as the
last where the name tells how many there are ("hidden_states[26] of 27") or the model is one of `N_LAYERS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Match = Literal["same", "other", "unknown"]

N_LAYERS = {
    "gpt2": 12, "gpt2-small": 12, "gpt2-medium": 24, "gpt2-large": 36, "gpt2-xl": 48, "pythia-70m": 6,
    "pythia-70m-deduped": 6, "pythia-160m": 12, "pythia-160m-deduped": 12, "gemma-2b": 18, "gemma-2b-it": 18,
    "gemma-7b": 28, "gemma-2-2b": 26, "gemma-2-2b-it": 26, "gemma-2-9b": 42, "gemma-2-9b-it": 42, "gemma-2-27b": 46,
    "gemma-2-27b-it": 46, "gemma-3-270m": 18, "gemma-3-270m-it": 18, "gemma-3-1b-pt": 26, "gemma-3-1b-it": 26,
    "gemma-3-4b-pt": 34, "gemma-3-4b-it": 34, "gemma-3-12b-pt": 48, "gemma-3-12b-it": 48, "gemma-3-27b-pt": 62,
    "gemma-3-27b-it": 62, "llama-3.1-8b": 32, "llama-3.1-8b-instruct": 32, "deepseek-r1-distill-llama-8b": 32,
    "llama-3.3-70b-instruct": 80, "mistral-7b": 32, "mistral-7b-v0.1": 32,
}  # fmt: skip
"""Blocks of the models that have SAEs in the registry, by the last part of the model's name."""

# The part of a name that gives the layer, and what stands before and after it.
_BLOCK = re.compile(r"(?:(?:^|[./ _])(?:blocks|layers)|(?:^|[./ ])h)[._\[](\d+)\]?(?:[._](.*))?$")
_HIDDEN = re.compile(r"(?:^|[._/ ])hidden_states?[\[._ ]?(\d+)\]?(?: of (\d+))?$")
_PAIR = re.compile(r"(?:^|[,; ])(layer|component|hook|site)=([\w.\-]+)")
_SITE_FIRST = re.compile(r"^(resid|mlp|attn|embed)_?([a-z_]*?)_?(?:layer)?_?(\d+)(?:_(in|out))?$")
_LLAMA_SCOPE = re.compile(r"(?:^|[-_/])L(\d+)(R|M|A|TC)(?:[-_/]|$)")
_SITE_AND_NUMBER = re.compile(
    r"^((?:hook_)?resid_(?:pre|mid|post)|residual|resid|res|(?:hook_)?(?:mlp|attn)_out)[._/-](\d+)$"
)
_NEURONPEDIA = re.compile(r"^(\d+)-(?:[a-z0-9_.]+-)?(res|mlp|att|attn|transcoder)(?:-|_|$)")
_LAYER_FIRST = re.compile(r"(?:^|[._/])(\d+)[._](resid_?\w*|hook_\w+|mlp\w*|attn\w*)$")
_RANGE = re.compile(r"(?:to_?|-|:)\d+")
"""Several layers, as in layers_0_to_25: no place."""
_LAYER = re.compile(r"(?:^|[^a-z])(?:layer|l)[._\- ]?(\d+)(?=$|[^a-z0-9])")

_NAMES = {
    "resid_post": "output out outputs hook_resid_post resid_post residual resid res hidden hidden_states block_output"
    " residual_stream resid_stream residuals post",
    "resid_pre": "input in inputs hook_resid_pre resid_pre pre",
    "resid_mid": "hook_resid_mid resid_mid mid",
    "mlp_out": "hook_mlp_out mlp_out post_feedforward_layernorm post_feedforward_layernorm.output",
    "mlp_in": "hook_mlp_in mlp_in mlp.input mlp.in mlp.hook_in",
    "mlp_hidden": "mlp.hook_post mlp.down_proj.input",
    "mlp_hidden_pre": "mlp.hook_pre",
    "mlp_norm": "ln2.hook_normalized ln2",
    "attn_out": "hook_attn_out attn_out self_attn.o_proj self_attn.o_proj.output",
    "attn_in": "hook_attn_in attn_in",
    "attn_norm": "ln1.hook_normalized ln1",
    "attn_z": "attn.hook_z hook_z self_attn.o_proj.input",
    "attn_q": "attn.hook_q",
    "attn_k": "attn.hook_k",
    "attn_v": "attn.hook_v",
}
"""The sites, with what their names have after the layer's number. A module without more means the module's output."""
_SITES = {"": "resid_post"} | {name: site for site, names in _NAMES.items() for name in names.split()}
_AMBIGUOUS = {"mlp", "mlp.output", "mlp.out", "attn", "self_attn", "self_attn.output", "attention", "attn.out"}
"""A module before the norm in some models and after it in others: the site is left open between these and *_out."""
_OPEN = {"mlp": {"mlp_out", "mlp_module"}, "attn": {"attn_out", "attn_module"}}
_OF_A_TUPLE = re.compile(r"(?<=put)(?:\.0|\[0\])$")
"""What a module returns is often a tuple, of which the states are the first."""
_PARTS = re.compile(
    "mlp|ffn|moe|attn|attention|norm|layernorm|ln|proj|gate|up|down|act|fc|conv|embed|head|router|experts?|mixer|mamba|"
    "forward|dropout|qkv|[qkvz]|pre|mid|input|rotary"
)
"""Words of which one is in every name of a part of a block. Other words say which file it is: train, batch_3, fp16."""
_OF_NEURONPEDIA = {
    "res": {"resid_post"}, "mlp": {"mlp_out"}, "att": {"attn_z", "attn_out"}, "attn": {"attn_z", "attn_out"},
    "transcoder": {"mlp_in", "mlp_norm"},
}  # fmt: skip
_AT_THE_END = {"ln_final": "final_norm", "model.norm": "final_norm", "transformer.ln_f": "final_norm"} | {
    name: site
    for site, names in (("final_norm", "last_hidden_state final_hidden_state"), ("logits", "logits lm_head unembed"))
    for name in names.split()
}
_LETTERS = {"R": "resid_post", "M": "mlp_out", "A": "attn_out", "TC": "mlp_in"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where activations were taken; None for what a name does not tell.

    `sites` are those that the name may mean: mostly one. "final_norm" is the model's last hidden state, and "logits"
    what comes after it. `is_input`: the name is that of the next block's input.
    """

    layer: int | None = None
    sites: frozenset[str] = frozenset()
    hidden_state: int | None = None
    is_input: bool = field(default=False, compare=False)

    @property
    def is_known(self) -> bool:
        return self.layer is not None or bool(self.sites)


def parse(name: str) -> Place:
    """Return the place that a name tells; an empty `Place` for a name that tells none."""
    text = name.strip()
    lower = _OF_A_TUPLE.sub("", text.lower())
    if found := _HIDDEN.search(lower):
        index, count = int(found[1]), found[2]
        if count is not None and index == int(count) - 1:
            return Place(None, frozenset({"final_norm"}), index)
        return Place(index - 1, frozenset({"resid_post"}), index) if index else _embedding()
    if pairs := dict(_PAIR.findall(lower)):
        if "." in pairs.get("hook", ""):
            return parse(pairs["hook"])
        layer = int(pairs["layer"]) if pairs.get("layer", "").isdecimal() else None
        component = pairs.get("component") or pairs.get("hook") or pairs.get("site")
        return _place(layer, component) if component else Place(layer)
    if lower.split(".")[-1] in ("hook_embed", "embed_tokens", "wte", "embed_in", "embed"):
        return _embedding()
    if at_the_end := next((site for start, site in _AT_THE_END.items() if lower.startswith(start)), None):
        return Place(None, frozenset({at_the_end}))
    if found := _NEURONPEDIA.match(lower):
        return Place(int(found[1]), frozenset(_OF_NEURONPEDIA[found[2]]))
    if found := _SITE_AND_NUMBER.match(lower):
        return _place(int(found[2]), found[1])
    if found := _BLOCK.search(lower):
        return Place() if _RANGE.match(found[2] or "") else _place(int(found[1]), found[2] or "")
    if found := _LLAMA_SCOPE.search(text):
        return Place(int(found[1]), frozenset({_LETTERS[found[2]]}))
    for part in reversed(re.split(r"[/\\]", lower)):
        if found := _SITE_FIRST.match(part):
            kind, more, number, way = found.groups()
            return _place(int(number), _site_of(kind, more, way))
    if found := _LAYER_FIRST.search(lower):
        return _place(int(found[1]), found[2])
    layers = {int(number) for number in _LAYER.findall(lower)}
    if len(layers) == 1:
        named = [site for site in _SITES if len(site) > 2 and _has_word(lower, site)]
        return _place(layers.pop(), max(named, key=len) if named else None)
    return Place(int(text)) if text.isdecimal() else Place()


def compare(data: str, sae: str, model: str = "") -> Match:
    """Say whether two names tell the same place: the data's and the SAE's; `model` is the SAE's, "" if unknown.

    "other" where a layer or a site differs; "same" where both are told and agree; "unknown" else.
    """
    ours, theirs = (_settled(parse(name), model) for name in (data, sae))
    if not ours.is_known or not theirs.is_known:
        return "unknown"
    if (ours.sites | theirs.sites) & {"final_norm", "logits"}:
        return "same" if ours.sites == theirs.sites else "other" if ours.sites and theirs.sites else "unknown"
    if None not in (ours.layer, theirs.layer) and ours.layer != theirs.layer:
        return "other"
    if ours.sites and theirs.sites:
        if not ours.sites & theirs.sites:
            return "other"
        if None not in (ours.layer, theirs.layer) and len(ours.sites | theirs.sites) == 1:
            return "same"
    return "unknown"


def n_blocks_of(model: str) -> int | None:
    """Return how many blocks a model has, None where that is not known."""
    return N_LAYERS.get(model.lower().rpartition("/")[2])


def is_input(name: str) -> bool:
    """Say whether a name tells a block's input, which is the output of the block before."""
    return parse(name).is_input


def why_final_norm(data: str, sae: str, model: str = "") -> str:
    """Say why the last hidden state is not taken for the output of the model's last block, if this is what one might
    expect; "" else.
    """
    ours, theirs = _settled(parse(data), model), parse(sae)
    if "final_norm" not in ours.sites or theirs.sites != {"resid_post"} or ours.hidden_state is None:
        return ""
    if theirs.layer != ours.hidden_state - 1:
        return ""
    return f", of which {data} is what the final norm makes of the output of block {theirs.layer}, the last one"


def _settled(place: Place, model: str) -> Place:
    """Say "final_norm" of the last hidden state of a model whose number of blocks is known."""
    n_layers = n_blocks_of(model)
    if n_layers is not None and place.hidden_state == n_layers:
        return Place(None, frozenset({"final_norm"}), place.hidden_state)
    return place


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?:^|[^a-z]){re.escape(word)}(?:$|[^a-z])", text) is not None


def _embedding() -> Place:
    """The input of the first block. With learned positions the embedding alone is something else; both are layer -1."""
    return Place(-1, frozenset({"resid_post"}))


def _site_of(kind: str, more: str, way: str | None) -> str:
    if kind == "resid":
        return {"pre": "resid_pre", "mid": "resid_mid"}.get(more, "resid_pre" if way == "in" else "resid_post")
    if more in ("in", "out") or way:
        return f"{kind}_{more or way}" if more or way == "in" else kind
    return kind


def _place(layer: int | None, after: str | None) -> Place:
    """Make a place of a layer and what its name says after it."""
    if after is None:
        return Place(layer)
    after = after.strip("._")
    for open_name, sites in _OPEN.items():
        if after in _AMBIGUOUS and after.replace("self_", "").startswith(open_name[:3]):
            return Place(layer, frozenset(sites))
    site = _SITES.get(after)
    if site is None and not any(_PARTS.fullmatch(word) for word in re.split(r"[^a-z]+", after)):
        begins = [_SITES[one] for one in _SITES if len(one) > 2 and re.match(rf"{re.escape(one)}[._]", after)]
        return Place(layer, frozenset(begins[:1]))
    if site == "resid_pre":
        return Place(None if layer is None else layer - 1, frozenset({"resid_post"}), is_input=True)
    return Place(layer, frozenset({site if site is not None else after}))
