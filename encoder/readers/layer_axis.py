"""Which layer of an axis of layers is the SAE's, and which place in the model each of them is.

hidden_states[i] of n       the array is called hidden_states, or has one layer more than the model has blocks: 0 is
                            the embedding, i + 1 the output of block i, and the last is after the final norm
layer=i,component=<name>    the array is called after a site, such as resid_post, and has a layer for each block
<name>[i] of n              else: which layer is the first is not known, so --select layer= has to say it
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from encoder.hooks import n_blocks_of
from encoder.readers.resolve import Offer, places_of, resolve
from encoder.readers.select import choose_label
from encoder.readers.source import Source

_HIDDEN_STATES = re.compile(r"(?:.*[./])?(?:all_)?hidden_states?")
_SITE = re.compile(r"(?:.*[./])?((?:hook_)?(?:resid|mlp|attn)_(?:pre|post|mid|in|out)|residual)")


@dataclass(frozen=True, slots=True)
class Layer:
    """The layer that is taken: its number along the axis, its place in the model, and all places that there are."""

    number: int
    hook: str
    places: tuple[str, ...]
    note: str


def layer_of(n_layers: int, name: str, source: Source) -> Layer:
    """Choose a layer, of so many, of the array `name`, "" for one without a name.

    Raises: ShardError; NotHereError where the SAE's place is none of the layers; AmbiguousError where which layer is
    which is not known.
    """
    offers = [Offer(f"layer={i}", _hook_of(i, n_layers, name, source.model_name)) for i in range(n_layers)]
    found = None if "layer" in source.select else resolve(offers, source)
    number = choose_label(range(n_layers), "layer", source) if found is None else offers.index(found)
    return Layer(number, offers[number].hook, places_of(offers), _note(number, n_layers))


def _hook_of(i: int, n_layers: int, name: str, model: str) -> str:
    n_blocks = n_blocks_of(model)
    if _HIDDEN_STATES.fullmatch(name.lower()) or n_layers - 1 == n_blocks:
        return f"hidden_states[{i}] of {n_layers}"
    site = _SITE.fullmatch(name.lower())
    if site and n_layers == n_blocks:
        return f"layer={i},component={site[1]}"
    return f"{name}[{i}] of {n_layers}" if name else ""


def _note(number: int, n_layers: int) -> str:
    """Say how the layers of an axis are counted, which is not how a model counts its blocks."""
    last = ", and the last is after the final norm" if number == n_layers - 1 else ""
    return (
        f"layer {number} of {n_layers} along the axis, counted from 0; of transformers' hidden_states 0 is the"
        f" embedding and block N gives N + 1{last}"
    )
