"""The service's log, on stderr: a line for each job that begins or ends, or an object for programs.

    2026-12-01 09:30:00 job 3 done
    {"time": "2026-12-01T09:30:00.123Z", "level": "info", "message": "job 3 done", "job": "3"}

The objects also have a line for each request, with its id. No line holds a header, a query or a body.
"""

from __future__ import annotations

import logging
import sys
import time

import orjson

from saefetch.terminal.output import printable

LOGGER = logging.getLogger("saefetch.service")
_EXTRA = ("job", "request_id", "method", "path", "status", "ms")


def set_up(*, as_json: bool, quiet: bool) -> None:
    """Begin to write the log. `quiet` leaves only what went wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Objects() if as_json else _Lines())
    LOGGER.handlers = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{when} {printable(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Objects(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{when}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _EXTRA if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
