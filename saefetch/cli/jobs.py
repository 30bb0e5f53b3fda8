"""`saefetch jobs`: ask a running service, print what it says."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from saefetch.cli.download import result_line
from saefetch.downloading.outcome import Summary
from saefetch.errors import SaefetchError, UsageError
from saefetch.service.client import ADDRESS, Client, Job, read_token, sae_name
from saefetch.service.watch import ENDED, plan_of
from saefetch.service.watch import watch as watch_jobs
from saefetch.terminal.output import bold, complain, print_json, printable, remark
from saefetch.terminal.progress import make_display

T = TypeVar("T")
STATES = ("queued", "running", "done", "failed", "cancelled")


def add(wish: dict[str, Any], url: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Ask for labels; print the jobs."""
    given = {name: value for name, value in wish.items() if value is not None}
    jobs, is_new = _ask(lambda client: client.add(given), url, token_file)
    _print(jobs, as_json=as_json)
    if not as_json:
        if not is_new:
            remark("Nothing new: this was asked for already and has not ended.")
        if sys.stdout.isatty():
            ids = [job["id"] for job in jobs] if len(jobs) < 10 else []
            remark(f"To see the progress: {_command('watch', *ids, url=url, token_file=token_file)}")
    return 0


def list_(state: str | None, limit: int, url: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Print jobs, the latest first."""
    if state is not None and state not in STATES:
        raise UsageError(f"--state {state[:100]!r}: expected one of {', '.join(STATES)}")
    jobs, has_more = _ask(lambda client: client.jobs(state, limit), url, token_file)
    _print(jobs, as_json=as_json)
    if not jobs and not as_json:
        remark(f"no job is {state}" if state else "no jobs yet; `saefetch jobs add` makes some")
    if has_more and not as_json:
        remark(f"these are the latest {len(jobs):,}; --limit shows more")
    return 0


def show(ids: list[str], url: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Print jobs in full."""
    jobs, status = _each(ids, lambda client, job_id: client.job(job_id), url, token_file)
    if as_json:
        print_json({"jobs": jobs})
    elif jobs:
        print("\n\n".join(map(_page, jobs)))
    return status


def cancel(ids: list[str], url: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Cancel jobs; print them."""
    jobs, status = _each(ids, lambda client, job_id: client.cancel(job_id), url, token_file)
    _print(jobs, as_json=as_json)
    return status


def retry(ids: list[str], url: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Put jobs back into the queue; print them."""
    jobs, status = _each(ids, lambda client, job_id: client.retry(job_id), url, token_file)
    _print(jobs, as_json=as_json)
    return status


def watch(ids: list[str], url: str | None, token_file: Path | None, *, as_json: bool, quiet: bool) -> int:
    """Show jobs until all have ended; return 0 if all are done, else 1, or 128 + the signal that ended the watching."""
    caught: list[int] = []

    async def work(client: Client) -> list[Job]:
        task = asyncio.current_task()

        def leave(number: int) -> None:
            caught.append(number)
            if task is not None:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, leave, number)
        found = [await client.job(job_id) for job_id in dict.fromkeys(ids)] if ids else await _open_jobs(client)
        with make_display(not quiet and any(job["state"] not in ENDED for job in found), plan_of(found)) as display:
            return await watch_jobs(client, found, display)

    try:
        jobs = _ask(work, url, token_file)
    except asyncio.CancelledError:
        more = "Watching has ended, the jobs go on."
        remark(f"{more} To watch again: {_command('watch', *ids, url=url, token_file=token_file)}")
        return 128 + caught[0]
    if as_json:
        print_json({"jobs": jobs})
    bad = [job for job in jobs if job["state"] != "done"]
    for job in jobs:
        prefix = f"job {job['id']}, {sae_name(job)}: "
        if job in bad:
            complain(f"{prefix}{job.get('error') or job['state']}")
        elif not (as_json or quiet):
            print(printable(prefix + result_line(_summary(job))))
    if bad and not quiet:
        again = _command("retry", *(job["id"] for job in bad), url=url, token_file=token_file)
        remark(f"{len(jobs) - len(bad):,} of {len(jobs):,} jobs done. To try the others again: {again}")
    elif not jobs and not (as_json or quiet):
        remark("no job is waiting or running")
    return 1 if bad else 0


async def _open_jobs(client: Client) -> list[Job]:
    """Return the jobs that have not ended, the first one first; one that starts meanwhile is not missed."""
    found = {job["id"]: job for state in ("queued", "running") for job in (await client.jobs(state, sys.maxsize))[0]}
    return list(reversed(found.values()))


def _ask(work: Callable[[Client], Awaitable[T]], url: str | None, token_file: Path | None) -> T:
    async def main() -> T:
        async with Client(url or ADDRESS, read_token(token_file)) as client:
            return await work(client)

    return asyncio.run(main())


def _each(
    ids: list[str], do: Callable[[Client, str], Awaitable[Job]], url: str | None, token_file: Path | None
) -> tuple[list[Job], int]:
    """Do something to each job; complain of each that it cannot be done to, and go on."""

    async def work(client: Client) -> tuple[list[Job], int]:
        jobs, status = [], 0
        for job_id in dict.fromkeys(ids):
            try:
                jobs.append(await do(client, job_id))
            except SaefetchError as exc:
                if len(ids) == 1:
                    raise
                complain(f"job {job_id}: {exc}")
                status = max(status, exc.exit_status)
        return jobs, status

    return _ask(work, url, token_file)


def _command(*words: str, url: str | None, token_file: Path | None) -> str:
    flags = (*(("--url", url) if url else ()), *(("--token-file", str(token_file)) if token_file else ()))
    return shlex.join(["saefetch", "jobs", *words, *flags])


def _print(jobs: Sequence[Job], *, as_json: bool) -> None:
    """Print jobs: as one object, as aligned lines in a terminal, else tab-separated."""
    if as_json:
        print_json({"jobs": jobs})
        return
    lines = [_line(job) for job in jobs]
    if not sys.stdout.isatty():
        for job, line in zip(jobs, lines, strict=True):
            print(*line, printable(job.get("error") or ""), sep="\t")
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for job, (number, state, counts, when, *names) in zip(jobs, lines, strict=True):
        head = f"{number:>{widths[0]}}  {bold(state)}{'':{widths[1] - len(state)}}  {counts:>{widths[2]}}  {when}  "
        print(head + f"{names[0]:{widths[4]}}  {names[1]}")
        if job.get("error"):
            print(f"{'':{widths[0]}}  {printable(job['error'])}")


def _line(job: Job) -> tuple[str, ...]:
    """Return id, state, features, the time of the last change of state, release and SAE id."""
    total, done = job.get("total_features"), job.get("done")
    if done is None and job.get("successful") is not None:
        done = job["successful"] + (job.get("missing") or 0)
    counts = "-" if total is None else f"{done or 0:,} of {total:,}"
    when = str(job.get("ended_at") or job.get("started_at") or job.get("submitted_at") or "-").replace("T", " ")
    names = (str(job.get("sae_release") or "-"), str(job.get("sae_id") or job.get("neuronpedia_id") or "-"))
    return tuple(map(printable, (job["id"], job["state"], counts, when, *names)))


def _page(job: Job) -> str:
    lines = [bold(f"job {printable(job['id'])}: {printable(job['state'])}")]
    for name, value in job.items():
        if name not in ("id", "state") and value is not None:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            if isinstance(value, dict):
                shown = ", ".join(f"{n:,} {key}" if isinstance(n, int) else f"{key} {n}" for key, n in value.items())
            lines.append(f"  {name:18} {printable(str(shown))}")
    return "\n".join(lines)


def _summary(job: Job) -> Summary:
    counts = {name: job[name] for name in Summary.__dataclass_fields__ if job.get(name) is not None}
    return Summary(**{"neuronpedia_id": "", "source": ""} | counts)
