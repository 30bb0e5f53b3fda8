"""The one settings mechanism: a flag wins over the environment, over a TOML file, over the built-in value.

A command declares its settings as a class:

    class Settings(Declared):
        model_config = declared("SAEFETCH_")
        default_config = Path("config/saefetch.toml")      # counts where it is there, unless another file is named
        concurrency: int = Field(8, ge=1, le=256)          # --concurrency, SAEFETCH_CONCURRENCY, concurrency = 8

`load` reads all four sources, once, and returns a frozen object. A wrong value is one line that says where it came
from. Made directly, as `Settings(concurrency=3)`, the class looks at nothing but its arguments.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsConfigDict, SettingsError
from pydantic_settings.sources import PydanticBaseSettingsSource

from saefetch.errors import SaefetchError, UsageError

SECRET = "secret"
"""The type of a problem whose value may hold a password, so that it is not repeated."""
_NOISE = re.compile(r"^(Input|Value error,) |, unable to parse string as (a number|an integer)")


def declared(env_prefix: str) -> SettingsConfigDict:
    """Return the configuration of a class of settings."""
    return SettingsConfigDict(
        env_prefix=env_prefix, env_ignore_empty=True, frozen=True, extra="forbid", allow_inf_nan=False
    )


def secret_problem(message: str) -> PydanticCustomError:
    """Return the error to raise for a value that is not to be repeated."""
    return PydanticCustomError(SECRET, "{words}", {"words": message})


class Declared(BaseSettings):
    """Base of a command's settings."""

    default_config: ClassVar[Path]
    error: ClassVar[type[SaefetchError]] = UsageError

    def __init__(self, **values: Any) -> None:
        """Take these values over the built-in ones, and nothing else. Raises: `error`, which names the argument."""
        try:
            BaseModel.__init__(self, **values)  # not that of BaseSettings, which takes 0.5 ms to ask its sources
        except ValidationError as exc:
            raise self.error(_in_a_line(exc, str)) from exc

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        is_yes_or_no = cls.model_fields[str(info.field_name)].annotation is bool
        if is_yes_or_no and not (isinstance(value, bool) or str(value).lower() in ("true", "false", "1", "0")):
            raise ValueError("should be true or false")
        if isinstance(value, bool) and not is_yes_or_no:
            raise ValueError("should not be true or false")
        return value

    @classmethod
    def load(cls, flags: dict[str, Any], config: Path | None = None) -> Self:
        """Read all sources. `flags` that are None were not given. Without `config`, `default_config` counts if there.

        Raises: `error`, which names the key, where its value came from and what is wrong with it.
        """
        path = config or cls.default_config
        if config is not None and not config.is_file() and config != Path(os.devnull):
            raise cls.error(f"--config {config}: there is no such file")
        in_file = cls._read(path) if path.is_file() else {}

        class Everywhere(cls):  # type: ignore[valid-type, misc]
            __init__ = BaseSettings.__init__

            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                *others: PydanticBaseSettingsSource,
                **more: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return init_settings, env_settings, InitSettingsSource(settings_cls, in_file)

        given = {name: value for name, value in flags.items() if value is not None}
        try:
            values = Everywhere(**given).__dict__
        except ValidationError as exc:
            raise cls.error(_in_a_line(exc, lambda name: cls._origin(name, given, path))) from exc
        except SettingsError as exc:
            name = cls._variable(re.findall(r'field "(\w+)"', str(exc))[0])
            got = repr(os.environ[name][:100])
            raise cls.error(f'{name}: expected a list in JSON, such as ["a", "b"], got {got}') from exc
        return cls.model_construct(**values)

    @classmethod
    def _read(cls, path: Path) -> dict[str, Any]:
        try:
            with path.open("rb") as file:
                values = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise cls.error(f"{path}: not valid TOML: {exc}") from exc
        except OSError as exc:
            raise cls.error(f"{path}: {exc.strerror}") from exc
        for key in values:
            if key not in cls.model_fields:
                nearest = difflib.get_close_matches(key, cls.model_fields, n=1, cutoff=0)
                raise cls.error(f"{path}: unknown key {key!r}; the closest known one is {nearest[0]!r}")
        return values

    @classmethod
    def _origin(cls, name: str, flags: dict[str, Any], path: Path) -> str:
        """Say where a value came from, as the user knows it."""
        if name in flags:
            return f"--{name.replace('_', '-')}"
        variable = cls._variable(name)
        return variable if os.environ.get(variable) else f"{path}: {name}"

    @classmethod
    def _variable(cls, name: str) -> str:
        wanted = f"{cls.model_config['env_prefix']}{name}".upper()
        return next((variable for variable in os.environ if variable.upper() == wanted), wanted)


def _in_a_line(exc: ValidationError, origin: Callable[[str], str]) -> str:
    """Say the first problem, and by `origin` where the value came from."""
    problem = exc.errors(include_url=False, include_context=False)[0]
    where = origin(str(problem["loc"][0]))
    if problem["type"] == SECRET:
        return f"{where}: {problem['msg']}"
    return f"{where} {str(problem.get('input'))[:100]!r}: {_NOISE.sub('', problem['msg'])}"
