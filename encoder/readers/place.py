"""The hook that a file's own name or its folder's says, where the name is nothing but a hook's or a layer's."""

from __future__ import annotations

import re
from pathlib import Path

_HOOK = re.compile(
    r"blocks\.\d+\.(?:\w+\.)*hook_\w+"  # TransformerLens
    r"|(?:\w+\.)*(?:layers|h)\.\d+(?:\.\w+)*"  # transformers: model.layers.16, transformer.h.3.mlp
    r"|(?:(?:resid|mlp|attn)\w*_)?layer[ _=-]?\d+",
    re.IGNORECASE,
)


def hook_of_place(path: Path) -> str:
    """Return the file's name without its ending, or else its folder's, if that is a hook's; "" if neither is.

    `blocks.2.hook_resid_post.npy`, `layer_16/0001.pt`.
    """
    return next((name for name in (path.stem, path.parent.name) if _HOOK.fullmatch(name)), "")
