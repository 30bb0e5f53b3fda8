"""vLLM's extract_hidden_states: <request>.safetensors = {"hidden_states": [token, layer, d], "token_ids": [token]}.

The layers are those that the run was asked for (`eagle_aux_hidden_state_layer_ids`), in that order; the file does not
say which. Layer id N is the input of block N, the output of block N - 1; the last one is before the final norm. With
prefix caching the rows of cached tokens are missing, so a file with other rows than tokens is refused. The .lock beside
a file is vLLM's own. With compression the file is a .safetensors.zst, which `packed` unpacks.
"""

from __future__ import annotations

from encoder.errors import ShardError
from encoder.readers.arrays import Array
from encoder.readers.assemble import shard_of
from encoder.readers.companions import mask_beside
from encoder.readers.select import choose_label
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "vLLM hidden states"
ROWS, IDS = "hidden_states", "token_ids"


def claims(source: Source) -> bool:
    """Claim [token, layer, d] with a token id each; where the axes may be the other way round, --axes has to say it."""
    if source.axes or not source.has_arrays(ROWS, IDS):
        return False
    rows, ids = source.contents[ROWS], source.contents[IDS]
    if len(rows.shape) != 3 or len(ids.shape) != 1 or ids.is_float:
        return False
    return bool(rows.shape[1] != ids.shape[0])


def open_shard(source: Source) -> Shard:
    source.allow_select("layer")
    states, ids = source.contents[ROWS], source.contents[IDS]
    n_tokens, n_layers, _ = states.shape
    if ids.shape[0] != n_tokens:
        raise ShardError(
            f"{source.path}: has rows of {n_tokens:,} tokens and {ids.shape[0]:,} token ids, so which token a row is of"
            f" is not known: prefix caching leaves rows out; capture again with enable_prefix_caching=False"
        )
    layer = choose_label(range(n_layers), "layer", source)
    rows: Array = states.permuted((1, 0, 2)).taken(layer)
    notes: tuple[str, ...] = ()
    if n_layers > 1:
        notes = (
            f"layer {layer} of the {n_layers} that vLLM was asked for, counted from 0: an id N in its"
            f" eagle_aux_hidden_state_layer_ids is the input of block N",
        )
    mask, passed_over = mask_beside(source.arrays, ROWS, ids.shape)
    what = f"{ROWS!r}, layer {layer}"
    return shard_of(source, rows, what, ids=ids, mask=mask, is_plain=True, notes=(*notes, *passed_over))
