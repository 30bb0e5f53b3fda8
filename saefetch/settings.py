"""The settings of a run: flags over environment over TOML over built-in. Read once, in the command line."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from yarl import URL

from saefetch.errors import UsageError
from saefetch.explanations import Preference
from saefetch.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID
from saefetch.transport import Limits

DEFAULT_CONFIG = Path("config/saefetch.toml")
SourceName = Literal["auto", "export", "batch", "feature"]


class Settings(BaseSettings):
    """Every setting, with its built-in value. What each is for: `config/saefetch.toml`, which holds the same values."""

    model_config = SettingsConfigDict(env_prefix="SAEFETCH_", frozen=True, extra="forbid", allow_inf_nan=False)

    sae_release: str = DEFAULT_RELEASE
    sae_id: str = DEFAULT_SAE_ID
    neuronpedia_id: str | None = None
    num_features: int | None = None
    source: SourceName = "auto"
    data_dir: Path = Path("sae")
    api_url: str = "https://www.neuronpedia.org"
    export_url: str = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
    requests_per_second: float | None = Field(None, gt=0)
    api_requests_per_second: float = Field(20.0, gt=0)
    export_requests_per_second: float = Field(200.0, gt=0)
    concurrency: int = Field(8, ge=1, le=256)
    batch_size: int = Field(100, ge=1, le=2000)
    max_attempts: int = Field(6, ge=1)
    max_wait_s: float = Field(3900.0, ge=0)
    connect_timeout_s: float = Field(10.0, gt=0)
    stall_timeout_s: float = Field(30.0, gt=0)
    total_timeout_s: float = Field(300.0, gt=0)
    max_response_bytes: int = Field(32 << 20, ge=1024)
    explanation_types: tuple[str, ...] = (
        "np_acts-logits-general",
        "np_max-act-logits",
        "oai_token-act-pair",
        "eleuther_acts_top20",
        "oai_attention-head",
    )
    explanation_models: tuple[str, ...] = (
        "gemini-2.5-flash-lite",
        "gemini-2.0-flash",
        "claude-3-5-haiku-20241022",
        "gpt-4o-mini",
        "gpt-3.5-turbo",
    )

    @property
    def limits(self) -> Limits:
        return Limits(
            requests_per_second=self.requests_per_second,
            api_requests_per_second=self.api_requests_per_second,
            export_requests_per_second=self.export_requests_per_second,
            concurrency=self.concurrency,
            max_attempts=self.max_attempts,
            max_wait_s=self.max_wait_s,
            connect_timeout_s=self.connect_timeout_s,
            stall_timeout_s=self.stall_timeout_s,
            total_timeout_s=self.total_timeout_s,
            max_response_bytes=self.max_response_bytes,
        )

    @property
    def preference(self) -> Preference:
        return Preference(self.explanation_types, self.explanation_models)


def load_settings(flags: dict[str, Any], config: Path | None = None) -> Settings:
    """Read all sources. `flags` that are None were not given. Without `config`, `config/saefetch.toml` counts if there.

    Raises: UsageError that names the key, where it came from and what is wrong with it.
    """
    path = config or DEFAULT_CONFIG
    if config is not None and not config.is_file():
        raise UsageError(f"--config {config}: there is no such file")
    if path.is_file():
        _check_keys(path)

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = FromFile(**given)
    except ValidationError as exc:
        raise UsageError(_first_problem(exc, given, path)) from exc
    except ValueError as exc:  # a list in an environment variable that is no JSON
        raise UsageError(f"environment SAEFETCH_*: {exc}") from exc
    for name in ("api_url", "export_url"):
        _check_url(name, getattr(settings, name))
    return settings.model_copy(update={n: getattr(settings, n).rstrip("/") for n in ("api_url", "export_url")})


def _check_keys(path: Path) -> None:
    try:
        with path.open("rb") as file:
            keys = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not valid TOML: {exc}") from exc
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}") from exc
    for key in keys:
        if key not in Settings.model_fields:
            nearest = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0)
            raise UsageError(f"{path}: unknown key {key!r}; the closest known one is {nearest[0]!r}")


def _first_problem(exc: ValidationError, flags: dict[str, Any], path: Path) -> str:
    problem = exc.errors(include_url=False, include_context=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    where = f"--{name.replace('_', '-')}" if name in flags else f"{name} (from SAEFETCH_{name.upper()} or {path})"
    return f"{where}: {problem['msg'].lower()}, got {str(problem.get('input'))[:100]!r}"


def _check_url(name: str, value: str) -> None:
    flag = "--" + name.replace("_", "-")
    try:
        url = URL(value)
        usable = url.scheme in ("http", "https") and bool(url.host) and not url.query_string and not url.fragment
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{flag} {value[:200]!r}: expected an address such as https://www.neuronpedia.org")
    if url.user or url.password:
        raise UsageError(f"{flag}: user names and passwords in the address are not supported")
