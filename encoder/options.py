"""The settings of an encoding; how they are read is `saefetch.terminal.settings`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from encoder.errors import InputError
from encoder.rows import Exclude
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID
from saefetch.terminal.settings import Declared, declared

Backend = Literal["auto", "reference", "cpu", "triton"]
Values = Literal["float32", "float16"]
Engine = Literal["local", "ray"]
Seconds = Annotated[float, Field(gt=0, lt=1e9)]


class Options(Declared):
    """Every setting, with its built-in value; `config/encoder.toml` holds the same."""

    model_config = declared("SAE_ENCODE_")
    default_config = Path("config/encoder.toml")
    error = InputError

    sae_release: str = DEFAULT_RELEASE  # the SAE where none is named
    sae_id: str = DEFAULT_SAE_ID
    device: str = "auto"
    backend: Backend = "auto"
    batch_tokens: int = Field(default=4096, ge=1, le=1 << 30)  # rows at a time; results do not change
    values: Values = "float32"
    fold_decoder_norm: bool = False  # values in Neuronpedia's scale: times the norms of the decoder's rows
    workers: int | None = Field(default=None, ge=1, le=4096)  # None: 1, with Ray as many as the cluster has room for
    lease_s: Seconds = 60.0  # a job whose worker has not been heard of for so long goes to another
    saes_at_once: int | None = Field(default=None, ge=1, le=4096)  # of several SAEs; None: as many as fit into memory
    max_attempts: int = Field(default=3, ge=1, le=1000)
    stable_s: Seconds = 5.0  # how long a file in the inbox must not have changed
    strict: bool = False  # activations that do not look like the SAE's are an error, not a warning
    exclude_tokens: str = ""  # rows that do not count, by token id, such as "0,2"
    exclude_first: int = Field(default=0, ge=0, le=1 << 40)  # the first rows of each document do not count
    exclude_norm: float | None = Field(default=None, gt=0)  # nor rows of so many times the shard's median norm
    engine: Engine = "local"  # who shares out the shards: this machine, or Ray
    ray_address: str | None = None  # None: $RAY_ADDRESS, or else a Ray of this machine alone
    num_cpus: float = Field(default=1.0, ge=0, le=4096)  # of a worker of Ray
    num_gpus: float | None = Field(default=None, ge=0, le=64)  # of a worker of Ray; None: 1 if the cluster has any

    @field_validator("exclude_tokens")
    @classmethod
    def _are_token_ids(cls, value: str) -> str:
        if not re.fullmatch(r"(\d{1,18}(,\d{1,18})*)?", value.replace(" ", ""), re.ASCII):
            raise ValueError("expected token ids, such as 0,2")
        return value

    @property
    def exclude(self) -> Exclude:
        """Return which rows the user leaves out of every figure."""
        return Exclude.of(self.exclude_tokens, self.exclude_first, self.exclude_norm)

    def name_sae(self, release: str | None, sae_id: str | None, path: Path | None) -> dict[str, Any]:
        """Return a ticket's `sae` for what the command line names, which may be nothing.

        Raises: InputError where the names contradict each other, or there is no such file.
        """
        for flag, name in (("--sae-release", release), ("--sae-id", sae_id)):
            if name == "":  # a variable that a script forgot to set, and not the default SAE
                raise InputError(f"{flag}: it is empty; name an SAE, or leave the flag out for the default one")
        if path is not None:
            if release or sae_id:
                raise InputError("--sae-path is the whole name of an SAE: give it, or --sae-release R --sae-id ID")
            if not path.exists():
                raise InputError(f"--sae-path {path}: there is no such file or folder")
            return {"sae_release": None, "sae_id": None, "sae_path": str(path.absolute()), **self._scale}
        if release is not None and release != self.sae_release and sae_id is None:
            raise InputError(
                f"--sae-release {release}: say which of its SAEs with --sae-id; `saefetch list` shows them"
            )
        names = {"sae_release": release or self.sae_release, "sae_id": sae_id or self.sae_id, "sae_path": None}
        return {**names, **self._scale}

    def name_saes(self, release: str | None, sae_id: str | None, paths: Sequence[Path] | None) -> Any:
        """Return a ticket's `sae` as `name_sae` does, or a list of them for several paths. Raises: InputError."""
        if not paths or len(paths) == 1:
            return self.name_sae(release, sae_id, paths[0] if paths else None)
        return [self.name_sae(release, sae_id, path) for path in paths]

    def name_saes_given(self, release: str | None, sae_id: str | None, paths: Sequence[Path] | None) -> Any:
        """Return what `name_saes` does; None where the command line names no SAE at all."""
        is_given = release is not None or sae_id is not None or bool(paths)
        return self.name_saes(release, sae_id, paths) if is_given else None

    @property
    def _scale(self) -> dict[str, bool]:
        return {"fold_decoder_norm": True} if self.fold_decoder_norm else {}


def read_options(text: str) -> Options:
    """Read the options that another process of the same version wrote as JSON."""
    return Options(**json.loads(text))


def load_options(config: Path | None, **flags: Any) -> Options:
    """Read all sources; see `Declared.load`. Raises: InputError."""
    return Options.load(flags, config)
