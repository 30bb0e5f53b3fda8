"""Which of the things in a file are the SAE's: one rule for tensors, columns, labels and the layers of an axis.

    offers: ("blocks.3.hook_resid_post", "model.layers.4", "hidden_states[5] of 27", "layer=16,component=residual", ...)
    SAE:    blocks.4.hook_resid_post        -> the offer from the same place of the model, by whatever name

1. what has the SAE's own hook as its name
2. the only one from the same place; of a block's output and the next block's input, which are the same, the output
3. the only one that may be it, as it tells the SAE's layer, and all others tell other places
4. the only one

Names that tell a layer alone are blocks, unless they go on beyond the model's last block: then they are hidden states,
or counted from 1, and which of two is the SAE's is asked.

Several that may be it are left to the caller, who names them for --select. Where all tell other places, the file does
not have the SAE's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from encoder.errors import AmbiguousError, NotHereError
from encoder.hooks import compare, is_input, n_blocks_of, parse, why_final_norm
from encoder.readers.source import Source, printable

MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that a file has: what `--select` calls it, and the place in the model that its name tells, or ""."""

    name: str
    hook: str


def resolve(offers: Sequence[Offer], source: Source) -> Offer | None:
    """Return the offer that is the SAE's; None if several may be.

    Raises: NotHereError if there are several, and all are from other places of the model; AmbiguousError where the
    names count layers in another way than the model its blocks.
    """
    hook, model = source.hook_name, source.model_name
    for offer in offers:
        if hook and hook in (offer.name, offer.hook):
            return offer
    _check_counting(offers, source)
    matches = {offer: compare(offer.hook, hook, model) for offer in offers}
    same = [offer for offer in offers if matches[offer] == "same"]
    if len(same) > 1:
        same = [offer for offer in same if not is_input(offer.hook)]
    if len(same) == 1:
        return same[0]
    possible = [offer for offer in offers if matches[offer] != "other"]
    if len(possible) == 1 and (len(offers) == 1 or _tells_layer(possible[0])):
        return possible[0]
    if len(offers) == 1:
        return offers[0]
    if offers and not possible:
        shown = listed(offer.hook for offer in offers)
        raise NotHereError(
            f"{source.path}: has nothing of {hook}: it has {shown}{why_final_norm(offers[-1].hook, hook, model)}; give"
            " the SAE of one of these, or choose one by hand, by its name, with --select",
            places_of(offers),
        )
    return None


def _check_counting(offers: Sequence[Offer], source: Source) -> None:
    """Raises: AmbiguousError where names such as layer_12, of a model of 12 blocks, number no blocks from 0 on."""
    n_blocks, wanted = n_blocks_of(source.model_name), parse(source.hook_name).layer
    named = {layer: offer.name for offer in offers if (layer := _bare_layer(offer.hook)) is not None}
    if n_blocks is None or wanted is None or not {n_blocks, wanted} <= named.keys():
        return
    first, last, own, after = min(named), named[n_blocks], named[wanted], named.get(wanted + 1)
    counted = f"{printable(named[first])} is the embedding" if first == 0 else "they are counted from 1"
    if after is None or (first == 0 and after == last):
        ways = f"if {counted}, {printable(last)} is after the final norm and no block's output: choose one by hand"
    else:
        ways = (
            f"choose with --select {printable(after)} if {counted}; or --select {printable(own)} if it is that block's"
        )
    raise AmbiguousError(
        f"{source.path}: has {printable(last)}, and {source.model_name} has the blocks 0 to {n_blocks - 1}, so which is"
        f" the output of block {wanted}? {ways[0].upper()}{ways[1:]}"
    )


def _bare_layer(hook: str) -> int | None:
    """Return the layer of a name that tells a layer and nothing else, such as layer_12; None for other names."""
    place = parse(hook)
    is_bare = not place.sites and place.hidden_state is None and not hook.isdecimal()
    return place.layer if is_bare else None


def places_of(offers: Iterable[Offer]) -> tuple[str, ...]:
    """Return the places in the model that a file says it has."""
    return tuple(offer.hook for offer in offers if parse(offer.hook).is_known)


def listed(names: Iterable[object]) -> str:
    """Return names from a file in one line, so many that it can be read."""
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - MAX_NAMED:,} more" if len(shown) > MAX_NAMED else ""
    return ", ".join(shown[:MAX_NAMED]) + more


def _tells_layer(offer: Offer) -> bool:
    """Say whether the name tells a layer, other than by a bare number, which may be a prompt's."""
    return parse(offer.hook).layer is not None and not offer.hook.isdecimal()
