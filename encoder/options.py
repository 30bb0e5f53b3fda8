"""What a run is made of: which SAE, where to compute, what to write. Read once in the command line, then passed on."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from encoder.errors import InputError

Values = Literal["float32", "float16"]

DEFAULT_CONFIG = Path("config/encoder.toml")


@dataclass(frozen=True, slots=True)
class Options:
    """Every setting, with its built-in value; `config/encoder.toml` holds the same."""

    sae_release: str = "gemma-scope-2b-pt-res-canonical"  # the SAE where none is named
    sae_id: str = "layer_16/width_16k/canonical"
    device: str = "auto"
    backend: str = "auto"
    batch_tokens: int = 4096  # rows read, encoded and written at a time; memory grows with it, results do not change
    values: Values = "float32"  # or float16
    workers: int = 1
    lease_s: float = 60.0  # a job whose worker has not been heard of for so long goes to another
    max_attempts: int = 3
    stable_s: float = 5.0  # how long a file in the inbox must not have changed
    strict: bool = False  # activations that do not look like the SAE's are an error, not a warning

    def __post_init__(self) -> None:
        for name, allowed in (("values", ("float32", "float16")), ("backend", ("auto", "reference", "cpu", "triton"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"--{name} {getattr(self, name)}: expected {', '.join(allowed)}")
        for name, least in (("batch_tokens", 1), ("workers", 1), ("max_attempts", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(f"--{name.replace('_', '-')} {value}: expected a whole number from {least}")
        for name in ("lease_s", "stable_s"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < 1e9:
                raise InputError(f"{name} {value}: expected a number of seconds")
        for name, kind in (("strict", bool), ("device", str), ("sae_release", str), ("sae_id", str)):
            if type(getattr(self, name)) is not kind:
                raise InputError(f"{name} {getattr(self, name)}: expected a {kind.__name__}")

    def name_sae(self, release: str | None, sae_id: str | None, path: Path | None) -> dict[str, str | None]:
        """Return a ticket's `sae` for what the command line names, which may be nothing.

        Raises: InputError where the names contradict each other, or there is no such file.
        """
        if path is not None:
            if release or sae_id:
                raise InputError("--sae-path is the whole name of an SAE: give it, or --sae-release R --sae-id ID")
            if not path.exists():
                raise InputError(f"--sae-path {path}: there is no such file or folder")
            return {"sae_release": None, "sae_id": None, "sae_path": str(path.absolute())}
        if release is not None and release != self.sae_release and sae_id is None:
            raise InputError(
                f"--sae-release {release}: say which of its SAEs with --sae-id; `saefetch list` shows them"
            )
        return {"sae_release": release or self.sae_release, "sae_id": sae_id or self.sae_id, "sae_path": None}


def load_options(config: Path | None, **flags: Any) -> Options:
    """Flags over the TOML file over built-in. Raises: InputError that names the key and the closest known one."""
    path = config or DEFAULT_CONFIG
    values: dict[str, Any] = {}
    if config is not None or path.is_file():
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as exc:
            raise InputError(f"--config {path}: {exc}") from exc
    known = [field.name for field in fields(Options)]
    for key in values:
        if key not in known:
            raise InputError(
                f"{path}: unknown key {key!r}; the closest known one is "
                f"{difflib.get_close_matches(key, known, n=1, cutoff=0)[0]!r}"
            )
    return Options(**values | {name: value for name, value in flags.items() if value is not None})
