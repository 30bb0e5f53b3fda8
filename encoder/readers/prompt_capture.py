"""Prompt captures: one prompt and its response, with activations of some layers.

    {"prompt":   {"text", "tokens": [str], "token_ids": [int], "activations": {layer: {component: [n, d]}}},
     "response": {same}}

A section may have an attention_mask too, an entry for each of its rows.

A section whose activations are empty, {} or {layer: {}}, has no rows, and then its tokens have none either: each
section's tokens are aligned with its own rows. Positions count from the prompt's first token all the same. Layers are
integers or strings. Both sections' tensors may be views into one padded batch, which the file then holds whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from encoder.errors import ShardError
from encoder.readers.arrays import Array
from encoder.readers.assemble import finished, joined
from encoder.readers.axes import plain_rows
from encoder.readers.companions import mask_beside, mask_of, match
from encoder.readers.resolve import Offer, places_of, resolve
from encoder.readers.select import choose_label
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

NAME = "prompt captures"
SECTIONS = ("prompt", "response")


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    position: int  # of its first token in prompt + response
    texts: list[str] | None
    ids: list[int] | Array | None
    by_layer: dict[str, Any]  # without layers that have no component

    @property
    def n_tokens(self) -> int:
        return len(self.texts) if self.texts is not None else _length(self.ids)


def claims(source: Source) -> bool:
    contents = source.contents
    return isinstance(contents, dict) and any(
        isinstance(section := contents.get(name), dict) and isinstance(section.get("activations"), dict)
        for name in SECTIONS
    )


def open_shard(source: Source) -> Shard:
    source.allow_select("layer", "component")
    captured = _sections(source)
    sections = [section for section in captured if section.by_layer]
    if not sections:
        raise ShardError(f"{source.path}: neither the prompt nor the response has activations: nothing was captured")
    offers = _offers(sections)
    layer, component = _choose(offers, source)
    components = [_mapping(source, section, section.by_layer.get(layer), f"layer {layer}") for section in sections]
    where = f"layer={layer},component={component}"
    rows = [
        _rows(source, section, each.get(component), where) for section, each in zip(sections, components, strict=True)
    ]
    if len({(array.dtype, array.width) for array in rows}) > 1:
        shown = " and ".join(array.describe() for array in rows)
        raise ShardError(f"{source.path}: {where} is {shown} in its sections; expected one dtype and one width")
    n_rows = [array.n_rows for array in rows]
    notes = tuple(
        f"the {section.name} has {section.n_tokens:,} tokens but no activations, so it has no rows"
        for section in captured
        if section.n_tokens and not section.by_layer
    )
    masks = []
    for section, array in zip(sections, rows, strict=True):
        others = tuple(f"{name}." for name in SECTIONS if name != section.name)
        named = {name: one for name, one in source.arrays.items() if not name.startswith(others)}
        mask, passed_over = mask_beside(named, f"{section.name}.activations.{layer}.{component}", array.lead)
        match(source.path, array, mask, f"mask of the {section.name}", may_be_float=True)
        masks.append(mask)
        notes += tuple(note for note in passed_over if note not in notes)

    def tokens() -> Tokens:
        counts = [
            np.ones(n, np.bool_) if mask is None else mask_of(source.path, mask)
            for n, mask in zip(n_rows, masks, strict=True)
        ]
        is_masked = any(mask is not None for mask in masks)
        return replace(_tokens(sections, n_rows), row_mask=np.concatenate(counts) if is_masked else None)

    return finished(
        source, sum(n_rows), rows[0].width, rows[0].dtype, joined(rows), tokens, where, notes, places_of(offers)
    )


def _offers(sections: list[_Section]) -> dict[Offer, tuple[str, str]]:
    """Return each layer and component that some section has."""
    found: dict[Offer, tuple[str, str]] = {}
    for section in sections:
        for layer, components in section.by_layer.items():
            for component in components if isinstance(components, dict) else ():
                where = f"layer={layer},component={component}"
                found[Offer(where, where)] = layer, component
    return found


def _choose(offers: dict[Offer, tuple[str, str]], source: Source) -> tuple[str, str]:
    """Return the layer and the component that --select names, or else the SAE's own, or else the only ones."""
    of_select = {
        offer: (layer, component)
        for offer, (layer, component) in offers.items()
        if source.select.get("layer", layer) == layer and source.select.get("component", component) == str(component)
    }
    chosen = resolve(list(of_select), source) if of_select else None
    if chosen is not None:
        return of_select[chosen]
    layer = choose_label(dict.fromkeys(layer for layer, _ in offers.values()), "layer", source)
    components = dict.fromkeys(component for other, component in offers.values() if other == layer)
    return layer, choose_label(components, "component", source)


def _sections(source: Source) -> list[_Section]:
    sections, position = [], 0
    for name in SECTIONS:
        section = source.contents.get(name)
        if isinstance(section, dict):
            texts, ids = section.get("tokens"), section.get("token_ids")
            if texts is not None and not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
                raise ShardError(f"{source.path}: {name}.tokens is {type(texts).__name__}, expected a list of strings")
            if isinstance(ids, list) and not all(type(i) is int and -(2**63) <= i < 2**63 for i in ids):
                raise ShardError(f"{source.path}: {name}.token_ids has entries that are not 64-bit integers")
            if not (ids is None or isinstance(ids, list) or (isinstance(ids, Array) and not ids.is_float)):
                raise ShardError(f"{source.path}: {name}.token_ids is {type(ids).__name__}, expected integers")
            by_layer = section.get("activations")
            if not isinstance(by_layer, dict):
                raise ShardError(f"{source.path}: {name}.activations is {type(by_layer).__name__}, expected a mapping")
            labelled = {str(layer): components for layer, components in by_layer.items() if components != {}}
            if len({str(layer) for layer in by_layer}) < len(by_layer):
                raise ShardError(f"{source.path}: {name}.activations has a layer twice, as a number and as a string")
            sections.append(_Section(name, position, texts, ids, labelled))
            position += sections[-1].n_tokens
    return sections


def _mapping(source: Source, section: _Section, value: Any, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ShardError(f"{source.path}: {section.name} has no {what}, though another section has; capture it again")
    return value


def _rows(source: Source, section: _Section, value: Any, where: str) -> Array:
    what = f"{section.name} {where}"
    if not isinstance(value, Array):
        raise ShardError(f"{source.path}: {what} is {type(value).__name__}, expected a tensor [n, d]")
    rows = plain_rows(value, what, source)
    for name, tokens in (("tokens", section.texts), ("token_ids", section.ids)):
        if tokens is not None and (got := _length(tokens)) != rows.n_rows:
            raise ShardError(
                f"{source.path}: {section.name} has {got} {name} but {rows.n_rows} rows at {where}; they cannot be"
                f" aligned: capture it again, or cut the tokens to the rows"
            )
    return rows


def _length(ids: list[Any] | Array | None) -> int:
    if isinstance(ids, Array):
        return int(np.prod(ids.shape))
    return 0 if ids is None else len(ids)


def _tokens(sections: list[_Section], n_rows: list[int]) -> Tokens:
    texts: list[str] | None = [text for section in sections for text in section.texts or ()]
    ids = [s.ids.integers() if isinstance(s.ids, Array) else np.array(s.ids or (), np.int64) for s in sections]
    parts, start = {}, 0
    for section, n in zip(sections, n_rows, strict=True):
        parts[section.name] = (start, start + n)
        start += n
    positions = [np.arange(s.position, s.position + n, dtype=np.int64) for s, n in zip(sections, n_rows, strict=True)]
    return Tokens(
        token_ids=None if any(section.ids is None for section in sections) else np.concatenate(ids),
        texts=None if any(section.texts is None for section in sections) else texts,
        row_document=np.zeros(start, np.int64),
        row_position=np.concatenate(positions),
        sections=parts,
    )
