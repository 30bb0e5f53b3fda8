"""A company's own certificate authority is trusted where the environment names it, and named where it is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from company_ca import authority_file, server_context

from saefetch.errors import UnreachableError, UsageError
from saefetch.net.body import Whole
from saefetch.net.certificates import is_untrusted, shared_certificates, trusting_context
from saefetch.net.request import Limits, Request
from saefetch.net.transport import Transport

WELL = b'{"well": true}'
NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def company_server(folder: Path) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n" + WELL)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context(folder))
    async with server:
        yield "https://{}:{}".format(*server.sockets[0].getsockname())


async def ask_company(folder: Path) -> bytes:
    async with company_server(folder) as base, Transport(Limits(max_attempts=1), base) as transport:
        request = Request(f"{base}/x", lambda _: Whole("x", 1000, bytes))
        return await transport.send(request)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_that_the_environment_names_is_trusted(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(authority_file(tmp_path)))
    assert asyncio.run(ask_company(tmp_path)) == WELL


def test_a_server_that_nobody_vouches_for_is_refused_with_the_names_that_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnreachableError) as refused:
        asyncio.run(ask_company(tmp_path))
    said = str(refused.value)
    assert "SSL_CERT_FILE" in said and "REQUESTS_CA_BUNDLE" in said and "only the system store" in said
    other = tmp_path / "other.pem"
    other.write_text(OTHER)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    with pytest.raises(UnreachableError, match=f"now: REQUESTS_CA_BUNDLE={other}"):
        asyncio.run(ask_company(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_nowhere_is_a_usage_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(UsageError, match=f"{name}=.*none.pem"):
        trusting_context()


def test_a_file_without_certificates_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.pem").write_text("<html>")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "page.pem"))
    with pytest.raises(UsageError, match="no certificates in PEM"):
        trusting_context()


def test_a_folder_of_hashed_certificates_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "certs").mkdir()
    authority_file(tmp_path / "certs")
    subprocess.run(["openssl", "rehash", str(tmp_path / "certs")], check=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certs"))
    assert asyncio.run(ask_company(tmp_path)) == WELL


def test_what_is_named_stands_beside_the_system_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trusting_context().cert_store_stats()["x509_ca"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority_file(tmp_path)))
    assert trusting_context().cert_store_stats()["x509_ca"] == before + 1


def test_for_a_download_of_weights_both_names_mean_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(authority_file(tmp_path))
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, file)
        with shared_certificates():
            assert os.environ["SSL_CERT_FILE"] == os.environ["REQUESTS_CA_BUNDLE"] == file
        assert [named for named in NAMES if named in os.environ] == [name]
        monkeypatch.delenv(name)


def test_another_fault_of_a_secure_connection_is_not_taken_for_a_missing_authority() -> None:
    assert not is_untrusted(OSError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired"))
    inner = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate")
    outer = RuntimeError("not in the cache")
    outer.__cause__ = inner
    assert is_untrusted(outer) and not is_untrusted(None)


OTHER = """-----BEGIN CERTIFICATE-----
MIIBgDCCASegAwIBAgIULQHiCoPclVReb1PbuOOdWnNlKRIwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKQW5vdGhlciBDQTAgFw0yNjEyMDEwMTIwMDlaGA8yMTI2MTEw
NzAxMjAwOVowFTETMBEGA1UEAwwKQW5vdGhlciBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABK72EARvlGgNetrfhwqlsUVUvCFPayFMc4aAYo06CRkzZLZfJmY8
9wZfqmP3VBv3leL7TtYQ1JQxaiVd7oSYARqjUzBRMB0GA1UdDgQWBBTA9Nj8riAy
5ZqQCVdRq41MSRdOLzAfBgNVHSMEGDAWgBTA9Nj8riAy5ZqQCVdRq41MSRdOLzAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIGaNFE1EaADwibOGrxn7
LPWAnNzUBCFrzOTiyw1Ru2ZnAiB4UyR7RvJ6NcuJqRx1oTKoMKB0e5N3oSrrEdGp
3epS4w==
-----END CERTIFICATE-----
"""
