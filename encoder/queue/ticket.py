"""A job's ticket: a small JSON file, the same in every folder of the queue.

    {"job", "shard", "out", "sae", "select", "attempts", "worker", "submitted_at", "error", "traceback", "result"}

`shard` and `out` are paths, absolute or relative to the queue's folder. `attempts` counts the attempts that were
started, the running one included. `worker` is who has it, or had it last; null in ready/. `error` and `traceback` are
the last attempt's; `result` is what the worker says of the job, finished or not. Other keys are kept as they are; a job
with results has "outputs", size and mtime of each, so that those who finish it know whether these are in their places.

`sae` names one SAE, or several, each with the folder of its results:

    "out": "features/a.npz"   "sae": {"saes": [{"sae_release", "sae_id", "sae_path", "folder": "release/layer_3"}, ...]}
    targets                   features/release/layer_3/a.npz, ...
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePath
from typing import Any, NoReturn

from encoder.errors import InputError

MAX_TICKET_BYTES = 1 << 20
MAX_JOB_BYTES = 180  # leaves room below NAME_MAX (255) for what a claim appends, see `encoder.queue.spool.Name`
MAX_ATTEMPTS = 999_999
REQUIRED = ("job", "shard", "out", "sae")
FOLDER = re.compile(r"[^/\x00-\x1f.][^/\x00-\x1f]*/[^/\x00-\x1f.][^/\x00-\x1f]*")
"""Of the results of one of several SAEs: a folder in a folder, of which neither is hidden."""


@dataclass(frozen=True, slots=True)
class Target:
    """One SAE of a ticket. `folder` is that of its results below the folder of all, "" where there is one SAE only.

    `out` is where the features of the shard go. `weights_sha256` is that of the SAE when the job was submitted, None
    where nobody had loaded the SAE then.
    """

    sae: Mapping[str, Any]
    folder: str
    out: str
    weights_sha256: str | None = None

    @property
    def key(self) -> str:
        """Return what is equal for equal SAEs."""
        return json.dumps([self.sae, self.weights_sha256], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A valid ticket. Raises: InputError, with the field, when it would not be one."""

    job: str
    shard: str
    out: str
    sae: Mapping[str, Any]
    select: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    worker: str | None = None
    submitted_at: str | None = None
    error: str | None = None
    traceback: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_job(self.job)
        for name in ("shard", "out"):
            path = getattr(self, name)
            if not isinstance(path, str) or not PurePath(path).name or not _is_encodable(path):
                _refuse(self.job, name, "the path of a file", path)
        for name in ("sae", "select", "result"):
            if not isinstance(getattr(self, name), dict):
                _refuse(self.job, name, "an object", getattr(self, name))
        if self.is_of_several:
            _check_saes(self.job, self.sae["saes"])
        if type(self.attempts) is not int or not 0 <= self.attempts <= MAX_ATTEMPTS:
            _refuse(self.job, "attempts", f"a whole number from 0 to {MAX_ATTEMPTS}", self.attempts)
        for name in ("worker", "submitted_at", "error", "traceback"):
            if not isinstance(getattr(self, name), str | None):
                _refuse(self.job, name, "a string or null", getattr(self, name))

    @property
    def is_of_several(self) -> bool:
        """Say whether the ticket is of a list of SAEs, which may be of one."""
        return "saes" in self.sae

    @property
    def targets(self) -> list[Target]:
        """Return the SAEs, each with where its result goes."""
        return targets_of(self.sae, self.out, self.extra.get("weights_sha256"))

    def without_outputs(self) -> Ticket:
        """Return the ticket of a job that has no results to be published."""
        return replace(self, extra={key: value for key, value in self.extra.items() if key != "outputs"})

    @classmethod
    def from_json(cls, data: bytes, job: str) -> Ticket:
        """Read the ticket of `job`. Raises: InputError, with what is wrong."""
        content = parse(data, job)
        if absent := [name for name in REQUIRED if name not in content]:
            raise InputError(f"ticket of {job!r}: no {', '.join(absent)}")
        if content["job"] != job:
            raise InputError(f"ticket of {job!r}: says that it is of {content['job']!r}; rename the file or the job")
        known = {one.name for one in fields(cls)} - {"extra"}
        extra = {key: value for key, value in content.items() if key not in known}
        return cls(**{key: value for key, value in content.items() if key in known}, extra=extra)

    def to_json(self) -> bytes:
        """Return ASCII, so that file names in any encoding come through. Raises: InputError if that is impossible."""
        content = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "extra"}
        try:
            data = json.dumps(content | {**self.extra, **content}, indent=1, allow_nan=False).encode("ascii") + b"\n"
        except (ValueError, TypeError, RecursionError) as exc:
            raise InputError(f"ticket of {self.job!r}: {exc}") from exc
        if len(data) > MAX_TICKET_BYTES:
            raise InputError(f"ticket of {self.job!r}: larger than {MAX_TICKET_BYTES} bytes")
        return data


def targets_of(sae: Mapping[str, Any], out: str, weights: object = None) -> list[Target]:
    """Return the SAEs of a ticket's `sae`, each with where its result goes; `weights` are the ticket's."""
    if "saes" not in sae:
        return [Target(sae, "", out, weights if isinstance(weights, str) else None)]
    above, slash, name = out.rpartition("/")  # no path: it may be an address
    known = weights if isinstance(weights, dict) else {}
    targets = []
    for one in sae["saes"]:
        own, folder = {key: value for key, value in one.items() if key != "folder"}, one["folder"]
        targets.append(Target(own, folder, f"{above}{slash}{folder}/{name}", known.get(folder)))
    return targets


def _check_saes(job: str, saes: object) -> None:
    if not isinstance(saes, list) or not saes or not all(isinstance(one, dict) for one in saes):
        _refuse(job, "sae.saes", "a list of SAEs", saes)
    folders = [one.get("folder") for one in saes]
    for folder in folders:
        if not isinstance(folder, str) or FOLDER.fullmatch(folder) is None:
            _refuse(job, "folder", "the name of a folder in a folder, such as release/layer_3", folder)
    if len(set(folders)) < len(folders):
        _refuse(job, "sae.saes", "SAEs with folders of their own", folders)


def check_job(job: object) -> None:
    """Make sure that `job` can be a file's name. Raises: InputError."""
    if not isinstance(job, str) or not job or job.startswith(".") or "/" in job or not _fits(job):
        raise InputError(
            f"job {job!r}: expected a name of 1 to {MAX_JOB_BYTES} bytes without '/' or control characters "
            "that does not begin with a dot; choose another name"
        )


def is_job(job: str) -> bool:
    try:
        check_job(job)
    except InputError:
        return False
    return True


def parse(data: bytes, job: str) -> dict[str, Any]:
    """Return a ticket's keys and values, whatever they are. Raises: InputError."""
    if len(data) > MAX_TICKET_BYTES:
        raise InputError(f"ticket of {job!r}: larger than {MAX_TICKET_BYTES} bytes")
    try:
        content = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"ticket of {job!r}: not JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise InputError(f"ticket of {job!r}: expected a JSON object, got {type(content).__name__}")
    return content


def tombstone(job: str, data: bytes, reason: str) -> bytes:
    """Return what stands in failed/ for a ticket that could not be read: all keys, the reason, and what was there."""
    content: dict[str, Any] = {one.name: None for one in fields(Ticket) if one.name != "extra"}
    content |= {"job": job, "error": reason, "malformed": data[:4096].decode("utf-8", "replace")}
    return json.dumps(content | {"attempts": 0}, indent=1).encode("ascii") + b"\n"


def _fits(job: str) -> bool:
    is_printable = all(char >= " " and char != "\x7f" for char in job)
    return is_printable and _is_encodable(job) and len(os.fsencode(job)) <= MAX_JOB_BYTES


def _is_encodable(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _refuse(job: object, name: str, expected: str, got: object) -> NoReturn:
    raise InputError(f"ticket of {job!r}: {name} must be {expected}, got {str(got)[:100]!r}")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
