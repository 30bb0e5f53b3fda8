"""The hook that a file's own name says, or that of a folder that it is in.

A name says a hook if it is nothing but a hook's name, or if the word `layer` and a number are in it. Other numbers in
the names of files count batches.
"""

from __future__ import annotations

import re
from pathlib import Path

_HOOK = re.compile(
    r"blocks\.\d+\.(?:\w+\.)*hook_\w+"  # TransformerLens
    r"|(?:\w+\.)*(?:layers|h)\.\d+(?:\.\w+)*"  # transformers: model.layers.16, transformer.h.3.mlp
    r"|\d+-(?:[\w.]+-)?(?:res|mlp|att|attn)-[\w.-]+"  # Neuronpedia: 16-gemmascope-res-16k
    r"|(?:last|final)_hidden_states?",  # what the final norm has made
    re.IGNORECASE,
)
_LAYER = re.compile(r"(?:^|[^a-z0-9])layer[ _=-]?\d+(?![0-9a-z])", re.IGNORECASE)


def hook_of_place(path: Path, root: Path | None = None) -> str:
    """Return the file's name without its ending, or else the nearest folder's that is a hook's; "" if none is.

    `blocks.2.hook_resid_post.npy`, `layer_16/0001.pt`, `gemma_layer_16_resid/train/0001.npy`. `root` is the folder that
    the user named: folders above it are not asked; without it, only the nearest one is.
    """
    folders = [path.parent]
    while root is not None and folders[-1] != root and root in folders[-1].parents:
        folders.append(folders[-1].parent)
    return next((name for name in (path.stem, *(folder.name for folder in folders)) if _says_hook(name)), "")


def _says_hook(name: str) -> bool:
    return bool(_HOOK.fullmatch(name)) or len(_LAYER.findall(name)) == 1
