"""The settings of a run: flags over environment over TOML over built-in. Read once, in the command line."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from saefetch.errors import UsageError
from saefetch.explanations import Preference
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID

if TYPE_CHECKING:
    from saefetch.net.request import Limits

DEFAULT_CONFIG = Path("config/saefetch.toml")
DAY_S = 86_400.0
SourceName = Literal["auto", "export", "batch", "feature"]


class Settings(BaseSettings):
    """Every setting, with its built-in value. What each is for: `config/saefetch.toml`, which holds the same values.

    The bounds are there to catch slips of the finger: nobody means a rate of 1e300 or an attempt that takes a year.
    """

    model_config = SettingsConfigDict(
        env_prefix="SAEFETCH_", env_ignore_empty=True, frozen=True, extra="forbid", allow_inf_nan=False
    )

    sae_release: str = DEFAULT_RELEASE
    sae_id: str = DEFAULT_SAE_ID
    neuronpedia_id: str | None = None
    num_features: int | None = None
    source: SourceName = "auto"
    data_dir: Path = Path("sae")
    api_url: str = "https://www.neuronpedia.org"
    export_url: str = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
    requests_per_second: float | None = Field(None, ge=0.001, le=100_000)
    api_requests_per_second: float = Field(20.0, ge=0.001, le=100_000)
    export_requests_per_second: float = Field(200.0, ge=0.001, le=100_000)
    concurrency: int = Field(8, ge=1, le=256)
    batch_size: int = Field(100, ge=1, le=2000)
    max_attempts: int = Field(6, ge=1, le=1000)
    max_wait_s: float = Field(3900.0, ge=0, le=31 * DAY_S)
    connect_timeout_s: float = Field(10.0, ge=0.001, le=DAY_S)
    stall_timeout_s: float = Field(30.0, ge=0.001, le=DAY_S)
    total_timeout_s: float = Field(300.0, ge=0.001, le=DAY_S)
    max_response_bytes: int = Field(32 << 20, ge=1024, le=1 << 32)
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
        from saefetch.net.request import Limits  # with all of aiohttp, which commands that only read can do without

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
    if config is not None and not config.is_file() and config != Path(os.devnull):
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
    except SettingsError as exc:
        name = _env_name(re.findall(r'field "(\w+)"', str(exc))[0])
        raise UsageError(
            f'{name}: expected a list in JSON, such as ["a", "b"], got {os.environ[name][:100]!r}'
        ) from exc
    urls = {
        name: _checked_url(getattr(settings, name), _origin(name, given, path)) for name in ("api_url", "export_url")
    }
    return settings.model_copy(update=urls)


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
    name = str(problem["loc"][0])
    message = problem["msg"].removeprefix("Input ").replace(", unable to parse string as a number", "")
    message = message.replace(", unable to parse string as an integer", "")
    return f"{_origin(name, flags, path)} {str(problem.get('input'))[:100]!r}: {message}"


def _origin(name: str, flags: dict[str, Any], path: Path) -> str:
    """Say where a value came from, as the user knows it."""
    if name in flags:
        return f"--{name.replace('_', '-')}"
    variable = _env_name(name)
    return variable if os.environ.get(variable) else f"{path}: {name}"


def _env_name(name: str) -> str:
    wanted = f"SAEFETCH_{name.upper()}"
    return next((variable for variable in os.environ if variable.upper() == wanted), wanted)


def _checked_url(value: str, origin: str) -> str:
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and not url.query and not url.fragment
        usable = usable and value.isascii() and value.isprintable() and " " not in value and url.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise UsageError(f"{origin} {value[:200]!r}: expected an address such as https://www.neuronpedia.org")
    if url.username is not None or url.password is not None:
        raise UsageError(f"{origin}: user names and passwords in the address are not supported")
    return value.rstrip("/")
