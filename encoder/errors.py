"""Everything that can go wrong in the encoder, as one tree. The class says what to do next.

SaefetchError
`-- EncoderError            a plain message for a person
    |-- InputError          exit 2: a flag, an SAE, a queue that cannot be used            -> stop before any work
    |   `-- UnreachableError  an SAE could not be downloaded, or a store does not answer  -> the one to try again
    |-- ShardError          one shard is no good: truncated, hostile, wrong width, NaN     -> fail this shard, go on
    |   |-- AmbiguousError  the file holds several tensors; the message names them for --select
    |   |-- NotHereError    the file says that it holds other places of the model only; `places` names them
    |   |-- OccupiedError   its result's name is taken by the result of another shard
    |   `-- ChangingError   it was written to while it was read                            -> the one to try again
    |-- FencedError         the lease ran out and another worker has the job               -> drop the work, go on
    |-- MismatchError       labels, features or settings of different SAEs                 -> stop
    `-- EncodeError         some shards failed; all others are done                        -> look at `outcome`
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saefetch.errors import SaefetchError


class EncoderError(SaefetchError):
    """Base of all errors that the encoder raises on purpose."""


class InputError(EncoderError):
    exit_status = 2


class UnreachableError(InputError):
    """An SAE could not be downloaded, or a store does not answer; another try may reach it."""


class ShardError(EncoderError):
    """One shard cannot be encoded; the message says which, what was expected, what was found."""


class AmbiguousError(ShardError):
    """The file holds several things that could be meant; the message lists them and how to choose with --select."""


class NotHereError(ShardError):
    """The file holds activations, of other places of the model than the SAE's; `places` are those that it has."""

    def __init__(self, message: str, places: Iterable[str]) -> None:
        super().__init__(message)
        self.places = tuple(places)


class OccupiedError(ShardError):
    """The shard's result would replace what is not its own; the message names both and how to keep both."""


class ChangingError(ShardError):
    """The shard was written to while it was read; another try finds it whole."""


class FencedError(EncoderError):
    """Another worker has taken over this job; what this one made of it is not published."""


class MismatchError(EncoderError):
    exit_status = 2


class EncodeError(EncoderError):
    """Some shards were not encoded; all others were. `outcome` is what `sae-encode run --json` prints."""

    def __init__(self, message: str, outcome: dict[str, Any]) -> None:
        super().__init__(message)
        self.outcome = outcome
