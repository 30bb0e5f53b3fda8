"""A company's own certificate authority, and a server's certificate for 127.0.0.1 that it signed, until 2126.

Made with `openssl req -x509 -newkey ec -nodes -days 36500` and `openssl x509 -req -CA`; the authority's key is gone.
"""

from __future__ import annotations

import ssl
from pathlib import Path

AUTHORITY = """-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUYqWiZ6NEDC3VMwCHMAFbIp79rZYwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKQ29tcGFueSBDQTAgFw0yNjEyMDEwMTIwMDlaGA8yMTI2MTEw
NzAxMjAwOVowFTETMBEGA1UEAwwKQ29tcGFueSBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABIOxsowCOtRYa9XeNZG4ja1Ne20jnOImfdqH9zVvntvii1OgX3pT
FH18ID2sJZGed110wJWUYwNww7rVwwBzJcKjUzBRMB0GA1UdDgQWBBR7DJdthzG8
ByxmGXRwLrsXSUAG1jAfBgNVHSMEGDAWgBR7DJdthzG8ByxmGXRwLrsXSUAG1jAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIEFjX6eLNyIM68t/HSQ9
0Nn2gaCnBTklVw+BRPi9q0TLAiEA191WS8Wgp2tNG1KwZ3HLMw3/cTdrZL3QHTLL
8JMH/OQ=
-----END CERTIFICATE-----
"""
SERVER = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTt7Mj8JbOICKxsjq
VCMpQwYcGBP4r8xJHMujiOPxzRChRANCAAStOpxYYFr+OK7XLK83Xs54N206tiEF
/Z+qzRudn9DZfm0lL/c9DhKU4Hkz9KM1adtGnXu7hs34Y4ehLu7hsVRZ
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBoDCCAUagAwIBAgIUHmKanA37yC807q1lWT4RctPA9VMwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKQ29tcGFueSBDQTAgFw0yNjEyMDEwMTIwMDlaGA8yMTI2MTEw
NzAxMjAwOVowFDESMBAGA1UEAwwJMTI3LjAuMC4xMFkwEwYHKoZIzj0CAQYIKoZI
zj0DAQcDQgAErTqcWGBa/jiu1yyvN17OeDdtOrYhBf2fqs0bnZ/Q2X5tJS/3PQ4S
lOB5M/SjNWnbRp17u4bN+GOHoS7u4bFUWaNzMHEwDwYDVR0RBAgwBocEfwAAATAJ
BgNVHRMEAjAAMB8GA1UdIwQYMBaAFHsMl22HMbwHLGYZdHAuuxdJQAbWMBMGA1Ud
JQQMMAoGCCsGAQUFBwMBMB0GA1UdDgQWBBRwheXKI/Yv0NjNZ99NKX+WoaBaPTAK
BggqhkjOPQQDAgNIADBFAiEAk10++9NxYaJOQ4Q+d5cKNQEbGyNoyxg1mUT5W8nP
NdgCIH4zSpLWfLJuyfZgnu+z3IAybUjT2esuSmlnBYJKHtxt
-----END CERTIFICATE-----
"""


def server_context(folder: Path) -> ssl.SSLContext:
    """Make the context of a server with the certificate that the company's authority signed."""
    (folder / "server.pem").write_text(SERVER)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return context


def authority_file(folder: Path) -> Path:
    """Write the authority's certificate, as a company hands it out."""
    (folder / "company.pem").write_text(AUTHORITY)
    return folder / "company.pem"
