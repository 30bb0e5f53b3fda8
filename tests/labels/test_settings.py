"""Where a value comes from: flag over environment over TOML over built-in, and one clear line when it is no good."""

from pathlib import Path
from typing import Any

import pytest

from saefetch.errors import UsageError
from saefetch.net.request import Limits
from saefetch.settings import Settings, load_settings

# For every key: values for TOML, environment and flag, as they are written there, and as they are read.
VALUES: dict[str, tuple[tuple[str, str, Any], tuple[Any, Any, Any]]] = {
    "sae_release": (('"t"', "e", "f"), ("t", "e", "f")),
    "sae_id": (('"t"', "e", "f"), ("t", "e", "f")),
    "neuronpedia_id": (('"t/t"', "e/e", "f/f"), ("t/t", "e/e", "f/f")),
    "num_features": (("2", "3", "4"), (2, 3, 4)),
    "source": (('"export"', "batch", "feature"), ("export", "batch", "feature")),
    "data_dir": (('"t"', "e", Path("f")), (Path("t"), Path("e"), Path("f"))),
    "api_url": (('"http://t/"', "http://e", "http://f/"), ("http://t", "http://e", "http://f")),
    "export_url": (('"http://t"', "http://e//", "http://f"), ("http://t", "http://e", "http://f")),
    "requests_per_second": (("2.5", "3", "4"), (2.5, 3.0, 4.0)),
    "explanation_types": (('["t"]', '["e"]', ("f",)), (("t",), ("e",), ("f",))),
    "explanation_models": (('["t"]', '["e"]', ("f",)), (("t",), ("e",), ("f",))),
    "max_response_bytes": (("2000", "3000", "4000"), (2000, 3000, 4000)),
} | dict.fromkeys(
    (
        "api_requests_per_second",
        "export_requests_per_second",
        "concurrency",
        "batch_size",
        "max_attempts",
        "max_wait_s",
        "connect_timeout_s",
        "stall_timeout_s",
        "total_timeout_s",
    ),
    (("2", "3", "4"), (2, 3, 4)),
)


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SAEFETCH_{name.upper()}", raising=False)


def toml(text: str, path: str = "some.toml") -> Path:
    file = Path(path)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def refusal(flags: dict[str, Any] | None = None, config: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_settings(flags or {}, config)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    return message


def test_these_are_all_keys() -> None:
    assert set(VALUES) == set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_a_flag_wins_over_the_environment_over_toml_over_the_built_in(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_toml, in_env, in_flag), (from_toml, from_env, from_flag) = VALUES[name]
    assert getattr(load_settings({}), name) == Settings.model_fields[name].default
    config = toml(f"{name} = {in_toml}\n")
    assert getattr(load_settings({name: None}, config), name) == from_toml
    monkeypatch.setenv(f"SAEFETCH_{name.upper()}", in_env)
    assert getattr(load_settings({name: None}, config), name) == from_env
    assert getattr(load_settings({name: in_flag}, config), name) == from_flag


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEFETCH_CONCURRENCY", "")
    assert load_settings({}, toml("concurrency = 3")).concurrency == 3


def test_config_saefetch_toml_counts_without_being_named_and_is_not_needed() -> None:
    assert load_settings({}).concurrency == 8
    toml("concurrency = 3", "config/saefetch.toml")
    assert load_settings({}).concurrency == 3
    assert load_settings({}, toml("batch_size = 5")).concurrency == 8, "a file that is named is the only one"


def test_the_limits_are_the_settings() -> None:
    limits = load_settings({name: VALUES[name][0][2] for name in VALUES if hasattr(Limits(), name)}).limits
    for name in VALUES:
        if hasattr(limits, name):
            assert getattr(limits, name) == VALUES[name][1][2], name


def test_an_unknown_key_is_refused_and_the_closest_known_one_named() -> None:
    assert refusal(config=toml("concurency = 3")) == (
        "some.toml: unknown key 'concurency'; the closest known one is 'concurrency'"
    )
    assert "'neuronpedia_id'" in refusal(config=toml("[neuronpedia]\nkey = 'secret'"))


@pytest.mark.parametrize("text", ["a b", "source = 'x", "\x00"])
def test_a_file_that_is_no_toml_is_refused(text: str) -> None:
    assert refusal(config=toml(text)).startswith("some.toml: not valid TOML")


def test_a_file_that_is_not_utf_8_is_refused() -> None:
    config = toml("")
    config.write_bytes(b'source = "\xff"')
    assert refusal(config=config).startswith("some.toml: not valid TOML")


def test_a_file_that_is_named_must_be_there() -> None:
    assert refusal(config=Path("nope.toml")) == "--config nope.toml: there is no such file"
    assert load_settings({}, Path("/dev/null")).concurrency == 8, "no defaults at all, the Unix way"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "1e300", "x", "", "1 2", "٣x"])
@pytest.mark.parametrize("name", ["requests_per_second", "connect_timeout_s"])
def test_a_rate_or_time_that_is_no_sensible_number_is_refused_in_a_line_that_names_the_flag(
    name: str, value: str
) -> None:
    assert refusal({name: value}).startswith(f"--{name.replace('_', '-')} {value!r}: ")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "nan", "9" * 30, "9" * 5000, "x"])
@pytest.mark.parametrize("name", ["concurrency", "batch_size", "max_attempts"])
def test_a_count_that_is_no_sensible_number_is_refused_in_a_line_that_names_the_flag(name: str, value: str) -> None:
    assert refusal({name: value}).startswith(f"--{name.replace('_', '-')} '{value[:100]}'")


def test_a_refusal_names_the_variable_or_the_file_that_the_value_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    config = toml("concurrency = 0")
    assert refusal(config=config).startswith("some.toml: concurrency '0'")
    monkeypatch.setenv("SAEFETCH_CONCURRENCY", "many")
    assert refusal(config=config).startswith("SAEFETCH_CONCURRENCY 'many'")
    assert refusal({"concurrency": "-3"}, config).startswith("--concurrency '-3'")


def test_a_list_in_the_environment_is_json_and_the_refusal_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEFETCH_EXPLANATION_TYPES", "a,b")
    assert refusal() == """SAEFETCH_EXPLANATION_TYPES: expected a list in JSON, such as ["a", "b"], got 'a,b'"""


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "https://host/?a=b",
        "https://host/#a",
        "http://[::1",
        "http://ho st",
        "http://höst",
        "http://host\n",
    ],
)
def test_what_is_no_address_is_refused(value: str) -> None:
    assert refusal({"api_url": value}).startswith(f"--api-url {value!r}: expected an address")


@pytest.mark.parametrize(
    "address", ["https://me:geheim@host", "https://geheim@host", "https://:geheim@host", "ftp://geheim@host:port/?a"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    message = refusal({"export_url": address})
    assert message.startswith("--export-url: user names and passwords") and "geheim" not in message
