"""The errors of a request or of the command, and their status.

SaefetchError
`-- DashboardError          exit 2: a folder that is not there, a port in use
    `-- RequestError        400: a parameter that makes no sense
        |-- NotFoundError   404: no such document, row, feature
        `-- NotReadyError   409: needs something that a command makes; the message says which
"""

from __future__ import annotations

from saefetch.errors import SaefetchError


class DashboardError(SaefetchError):
    exit_status = 2


class RequestError(DashboardError):
    http_status = 400


class NotFoundError(RequestError):
    http_status = 404


class NotReadyError(RequestError):
    http_status = 409
