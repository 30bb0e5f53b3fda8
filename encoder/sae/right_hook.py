"""Are the activations from the place in the model that the SAE is for? The names of both are compared."""

from __future__ import annotations

from collections.abc import Mapping

from encoder.errors import ShardError
from encoder.hooks import compare
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard

BY_HAND = ("key", "layer", "component")
"""Keys of --select by which a user has chosen the activations; `dtype` chooses nothing."""


def check_hook(shard: Shard, sae: LoadedSae, select: Mapping[str, object]) -> tuple[str, ...]:
    """Return a note where the user chose activations of another place by hand.

    Raises: ShardError where the shard names another layer or site than the SAE, and nobody chose it by hand.
    """
    if compare(shard.hook_name, sae.hook_name, sae.model_name) != "other":
        return ()
    both = f"the activations are from {shard.hook_name}, but the SAE is for {sae.hook_name}"
    if any(key in select for key in BY_HAND):
        return (f"{both}; they were chosen with --select",)
    raise ShardError(
        f"{shard.path}: {both}: give the SAE of {shard.hook_name}, or the activations of {sae.hook_name}. If the name"
        f" is wrong or you mean it, choose the activations with --select, or rename the folder that the name is from"
    )
