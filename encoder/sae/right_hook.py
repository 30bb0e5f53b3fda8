"""Are the activations what the SAE is for: of its width, and from its place in the model, as the names of both say?"""

from __future__ import annotations

from collections.abc import Mapping

from encoder.errors import ShardError
from encoder.hooks import compare, is_input
from encoder.shard import Shard

BY_HAND = ("key", "layer", "component")
"""Keys of --select by which a user has chosen the activations; `dtype` chooses nothing."""


def check_width(shard: Shard, d_in: int) -> None:
    """Raises: ShardError where the shard has rows of another width than the SAE takes."""
    if shard.d_in != d_in:
        raise ShardError(
            f"{shard.path}: give the SAE of these activations: rows of {shard.d_in} numbers, but the SAE takes {d_in}"
        )


def check_hook(shard: Shard, hook_name: str, model_name: str, select: Mapping[str, object]) -> tuple[str, ...]:
    """Return a note where the user chose activations of another place by hand, and where the place has another name
    here; the names are those of the SAE.

    Raises: ShardError where the shard names another layer or site than the SAE, and nobody chose it by hand.
    """
    match = compare(shard.hook_name, hook_name, model_name)
    if match == "same" and is_input(hook_name) and not is_input(shard.hook_name):
        return (f"{hook_name} is taken from {shard.hook_name}: a block's input is the output of the block before",)
    if match != "other":
        return ()
    both = f"the activations are from {shard.hook_name}, but the SAE is for {hook_name}"
    if any(key in select for key in BY_HAND):
        return (f"{both}; they were chosen with --select",)
    raise ShardError(
        f"{shard.path}: {both}: give the SAE of {shard.hook_name}, or the activations of {hook_name}. If the name"
        f" is wrong or you mean it, choose the activations with --select, or rename the folder that the name is from"
    )
