"""The probes, and `/metrics` in Prometheus' text format:
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from saefetch.service.http.given import Given
from saefetch.service.http.jobs import json_answer
from saefetch.service.http.table import PLAIN

if TYPE_CHECKING:
    from saefetch.service.service import Service


class Metrics:
    """The handlers of `/healthz`, `/readyz` and `/metrics`. `answered` counts the service's own answers by status."""

    def __init__(self, service: Service, answered: Mapping[int, int]) -> None:
        self._service, self._answered = service, answered

    def operations(self) -> dict[str, Callable[[web.Request, Given], Awaitable[web.StreamResponse]]]:
        return {"healthz": self.health, "readyz": self.ready, "metrics": self.metrics}

    async def health(self, request: web.Request, given: Given) -> web.Response:
        return json_answer({"status": "ok"})

    async def ready(self, request: web.Request, given: Given) -> web.Response:
        store, upstream = self._service.is_ready()
        is_ready = store == upstream == "ok"
        return json_answer({"ready": is_ready, "store": store, "upstream": upstream}, 200 if is_ready else 503)

    async def metrics(self, request: web.Request, given: Given) -> web.Response:
        text = "".join(self._lines())
        return web.Response(body=text.encode(), headers={"Content-Type": f"{PLAIN}; version=0.0.4; charset=utf-8"})

    def _lines(self) -> Iterator[str]:
        service, transport = self._service, self._service.transport
        counters = transport.counters
        upstream = "saefetch_upstream"
        yield _family(f"{upstream}_requests_total", "counter", "Requests sent to Neuronpedia.", counters.requests)
        yield _family(f"{upstream}_retries_total", "counter", "Requests sent again.", counters.retries)
        yield _family(f"{upstream}_rate_limited_total", "counter", "Answers 429.", counters.rate_limited)
        yield _family(
            f"{upstream}_received_bytes_total", "counter", "Bytes of answers as they came.", counters.bytes_received
        )
        yield _family(
            f"{upstream}_limiter_wait_seconds_total",
            "counter",
            "Seconds that requests waited for the limiter, each counted by itself.",
            transport.waited_s,
        )
        yield _family(
            f"{upstream}_paused_seconds", "gauge", "Seconds for which everything still pauses.", transport.paused_s or 0
        )
        yield _family(f"{upstream}_down", "gauge", "1 while a server that fails is waited for.", transport.is_down)
        if transport.quota_left is not None:
            yield _family(
                f"{upstream}_quota_left", "gauge", "Requests that the server still grants.", transport.quota_left
            )
        yield _family("saefetch_jobs", "gauge", "Jobs by state.", service.counts(), "state")
        yield _family(
            "saefetch_features", "gauge", "Features by state, of the SAEs that had a job.", service.features(), "state"
        )
        yield _family(
            "saefetch_idle_seconds", "gauge", "Seconds since the last progress of any job.", max(0.0, service.idle_s)
        )
        yield _family(
            "saefetch_http_answers_total",
            "counter",
            "The service's own answers by status.",
            {str(status): n for status, n in sorted(self._answered.items())},
            "status",
        )


def _family(name: str, kind: str, about: str, value: float | Mapping[str, float], label: str = "") -> str:
    """Render one metric; `value` may hold one number for each value of `label`."""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    if isinstance(value, Mapping):
        lines += [f'{name}{{{label}="{each}"}} {number:.15g}' for each, number in value.items()]
    else:
        lines.append(f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"
