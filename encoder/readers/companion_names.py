"""What token ids and masks are called, in a file, in an archive and as files of their own."""

from __future__ import annotations

from collections.abc import Iterator

TOKEN_NAMES = ("token_ids", "tokens", "input_ids")
ANY_MASK = ("mask", "masks")  # what it masks is told by its shape alone
MASK_NAMES = ("attention_mask", "attention_masks", "attn_mask", "attn_masks", *ANY_MASK)
UNCLEAR_MASK_NAMES = ("padding_mask", "pad_mask", "key_padding_mask")
NAMES = (*TOKEN_NAMES, *MASK_NAMES, *UNCLEAR_MASK_NAMES)
BETWEEN = ("_", ".", "-")


def called_after(stem: str) -> Iterator[tuple[str, str]]:
    """Yield what a name without ending may be called after, and as what: acts_input_ids is the input_ids of acts."""
    for name in NAMES:
        for between in BETWEEN:
            main = stem.removesuffix(f"{between}{name}")
            if main not in (stem, ""):
                yield main, name
