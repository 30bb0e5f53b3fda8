"""The settings of a download; how they are read is `saefetch.terminal.settings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from saefetch.explanations import Preference
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID
from saefetch.terminal.settings import Declared, declared, secret_problem

if TYPE_CHECKING:
    from saefetch.net.request import Limits

DAY_S = 86_400.0
SourceName = Literal["auto", "export", "batch", "feature"]


class Settings(Declared):
    """Every setting, with its built-in value. What each is for: `config/saefetch.toml`, which holds the same values.

    The bounds are there to catch slips of the finger: nobody means a rate of 1e300 or an attempt that takes a year.
    """

    model_config = declared("SAEFETCH_")
    default_config = Path("config/saefetch.toml")

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

    @field_validator("api_url", "export_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if "@" in value:
            raise secret_problem("user names and passwords in the address are not supported")
        if not _usable(value):
            raise ValueError("expected an address such as https://www.neuronpedia.org")
        return value.rstrip("/")

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
    """Read all sources; see `Declared.load`. Raises: UsageError."""
    return Settings.load(flags, config)


def _usable(value: str) -> bool:
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and not url.query and not url.fragment
        return usable and value.isascii() and value.isprintable() and " " not in value and url.port != 0
    except ValueError:  # a port that is no number
        return False
