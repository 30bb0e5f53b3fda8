"""Which certificate authorities are trusted: the system's, and those that a company names in the environment.

    SSL_CERT_FILE, SSL_CERT_DIR            what OpenSSL reads in the place of the system's file or folder
    REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE     a file or folder, trusted beside them; requests and curl read these

Libraries differ in which of these they read: aiohttp and httpx read the first two, requests the others. Here all count,
for every download.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from saefetch.errors import UsageError

BY_OPENSSL = ("SSL_CERT_FILE", "SSL_CERT_DIR")
BESIDE = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
"""Where the system's authorities are, for an OpenSSL that was built to look elsewhere, as conda's is."""


def trusting_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Make the context of a client that trusts the system's authorities and those that the environment names.

    Raises: UsageError for a name that leads to no file or folder of certificates.
    """
    for name in BY_OPENSSL:
        if (value := environ.get(name)) and not Path(value).exists():
            raise UsageError(
                f"{name}={value}: there is no such file or folder of certificates; correct or unset {name}"
            )
    context = ssl.create_default_context()
    has_folder = any(path and Path(path).is_dir() for path in ssl.get_default_verify_paths()[:2])
    if not context.cert_store_stats()["x509_ca"] and not has_folder:
        for file in filter(os.path.isfile, SYSTEM_FILES):
            context.load_verify_locations(file)
            break
    for name in (*BY_OPENSSL, *BESIDE):
        if value := environ.get(name):
            _load(context, name, value)
            # From Python 3.13 on it also wants extensions that authorities of companies often lack. What requests and
            # curl take from the same file is taken here.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _load(context: ssl.SSLContext, name: str, value: str) -> None:
    try:
        if Path(value).is_dir():
            context.load_verify_locations(capath=value)
        else:
            context.load_verify_locations(cafile=value)
    except OSError as exc:  # ssl.SSLError is one
        why = "it holds no certificates in PEM" if isinstance(exc, ssl.SSLError) else exc.strerror
        raise UsageError(f"{name}={value}: {why}; correct or unset {name}") from exc


def is_untrusted(exc: BaseException | None) -> bool:
    """Say whether an error, or one that it came from, is that nobody who is trusted vouches for the server."""
    seen = 0
    while exc is not None and seen < 20:
        text = str(exc)
        if "CERTIFICATE_VERIFY_FAILED" in text and ("issuer" in text or "self-signed" in text or "self signed" in text):
            return True
        exc, seen = exc.__cause__ or exc.__context__, seen + 1
    return False


def advice(environ: Mapping[str, str] = os.environ) -> str:
    """Say what to do about a certificate that nobody who is trusted vouches for, and what is trusted now."""
    named = ", ".join(f"{name}={environ[name]}" for name in (*BY_OPENSSL, *BESIDE) if environ.get(name))
    return (
        "if your company's network has a certificate authority of its own, name its file in SSL_CERT_FILE or"
        f" REQUESTS_CA_BUNDLE, or add it to the system's store (now: {named or 'only the system store'})"
    )


@contextmanager
def shared_certificates(environ: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """For the block, let every library trust the file that any of them is told to trust, by setting both names."""
    named = next((environ[name] for name in ("SSL_CERT_FILE", *BESIDE) if environ.get(name)), None)
    file = named or ssl.get_default_verify_paths().cafile
    added = [name for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if file and Path(file).is_file()]
    added = [name for name in added if not environ.get(name)]
    environ.update((name, str(file)) for name in added)
    try:
        yield
    finally:
        for name in added:
            environ.pop(name, None)
