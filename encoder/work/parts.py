"""`--part I/N`: of all shards, those of one of N processes that need nothing in common but the place of the results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from encoder.errors import InputError
from encoder.work.submit import Input


@dataclass(frozen=True, slots=True)
class Part:
    """The `number`-th of `of` parts, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read I/N. Raises: InputError."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip(), re.ASCII)
        number, of = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= of:
            raise InputError(f"--part {text}: expected I/N with I from 1 to N, such as 1/8 for the first of eight")
        return cls(number, of)

    def of_inputs(self, inputs: Sequence[Input]) -> list[Input]:
        """Return every N-th of the shards in order of name, from the I-th on."""
        return sorted(inputs, key=lambda item: item.name)[self.number - 1 :: self.of]

    @property
    def queue_name(self) -> str:
        """The queue of this part, which is no other part's: each works off its own shards, and ends when it has."""
        return f".queue-{self.number}-of-{self.of}"
