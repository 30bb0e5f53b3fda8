"""The job table against a model: whatever is done in whatever order, with a crash after any commit."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from saefetch.service.rows import Wish
from saefetch.service.table import Clash, JobTable

FOLDERS = ("r/a", "r/b", "r/c")
WISHES = st.builds(
    lambda folder, source: Wish(folder, "r", folder[2:], "m/s", None, source),
    st.sampled_from(FOLDERS),
    st.sampled_from(["auto", "batch"]),
)
PLACES = st.integers(0, 99)
COUNTS = {"successful": 3, "missing": 1}


class Model(RuleBasedStateMachine):
    """`jobs` says for each id which state the job is in, what is wished, and whether it is being cancelled."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.table = open_table(self.folder)
        self.jobs: dict[int, tuple[str, Wish, bool]] = {}
        self.n_changes = 0
        self.clock = 0

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.table.close()
            shutil.rmtree(self.folder)

    def now(self) -> str:
        self.clock += 1
        return f"2026-01-01T{self.clock // 3600 % 24:02}:{self.clock // 60 % 60:02}:{self.clock % 60:02}Z"

    def open_job(self, folder: str) -> int | None:
        return next((n for n, (state, wish, _) in self.jobs.items() if wish.folder == folder and is_open(state)), None)

    def pick(self, place: int) -> tuple[int, str, bool]:
        """Return one of the jobs, its state, and whether it is being cancelled; 0 where there is none."""
        if not self.jobs:
            return 0, "", False
        number = sorted(self.jobs)[place % len(self.jobs)]
        return number, self.jobs[number][0], self.jobs[number][2]

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=3, unique_by=lambda wish: wish.folder))
    def submit(self, wishes: list[Wish]) -> None:
        open_jobs = [self.open_job(wish.folder) for wish in wishes]
        clashes = [n for n, wish in zip(open_jobs, wishes, strict=True) if n and self.jobs[n][1] != wish]
        try:
            jobs, n_new = self.table.submit(wishes, self.now())
        except Clash as exc:
            assert exc.job.id == clashes[0]
            return
        assert not clashes and n_new == open_jobs.count(None)
        new = [job.id for job, before in zip(jobs, open_jobs, strict=True) if before is None]
        assert [job.id for job, before in zip(jobs, open_jobs, strict=True) if before] == [n for n in open_jobs if n]
        assert all(n not in self.jobs for n in new)
        self.jobs |= {job.id: ("queued", job.wish, False) for job in jobs if job.id in new}
        self.n_changes += len(new)

    def become(self, number: int, state: str, cancelling: bool = False) -> None:
        self.jobs[number] = state, self.jobs[number][1], cancelling
        self.n_changes += 1

    @rule(place=PLACES)
    def start(self, place: int) -> None:
        number, state, _ = self.pick(place)
        if state == "queued":
            assert self.table.start(number, self.now()).started_at
            self.become(number, "running")

    @rule(place=PLACES, done=st.integers(0, 9))
    def progress(self, place: int, done: int) -> None:
        number, state, _ = self.pick(place)
        if state == "running":
            assert self.table.progress(number, done, 9).object["total_features"] == 9
            self.n_changes += 1

    @rule(place=PLACES)
    def cancel(self, place: int) -> None:
        number, state, _ = self.pick(place)
        if state == "queued":
            self.table.end(number, "cancelled", self.now(), None, None)
            self.become(number, "cancelled")
        elif state == "running":
            self.table.cancelling(number)
            self.become(number, "running", cancelling=True)

    @rule(place=PLACES, ok=st.booleans())
    def end(self, place: int, ok: bool) -> None:
        number, state, cancelling = self.pick(place)
        if state == "running":
            how = "cancelled" if cancelling else "done" if ok else "failed"
            job = self.table.end(number, how, self.now(), None if ok else "broke", COUNTS)  # type: ignore[arg-type]
            assert job.done == 4
            self.become(number, how)

    @rule(place=PLACES)
    def retry(self, place: int) -> None:
        number, state, _ = self.pick(place)
        if state in ("failed", "cancelled"):
            other = self.open_job(self.jobs[number][1].folder)
            try:
                self.table.retry(number)
            except Clash as exc:
                assert exc.job.id == other
            else:
                assert other is None
                self.become(number, "queued")

    @rule()
    def crash(self) -> None:
        """Leave the database as it is, with its write-ahead log, and open a copy: what kill -9 leaves."""
        copy = Path(tempfile.mkdtemp())
        for path in self.folder.iterdir():
            shutil.copy(path, copy)
        self.table.close()
        shutil.rmtree(self.folder)
        self.folder, self.table = copy, open_table(copy)
        self.table.recover(self.now())
        for number, (state, _, cancelling) in list(self.jobs.items()):
            if state == "running":
                self.become(number, "cancelled" if cancelling else "queued")

    @rule(place=PLACES)
    def forget(self, place: int) -> None:
        """Forget what ended before one of the jobs did."""
        number, state, _ = self.pick(place)
        if number and not is_open(state):
            ends = {n: str(self.table.get(n).ended_at) for n in self.jobs if not is_open(self.jobs[n][0])}  # type: ignore[union-attr]
            self.table.forget(ends[number])
            for n in ends:
                if ends[n] < ends[number]:
                    del self.jobs[n]

    @invariant()
    def the_table_says_what_the_model_says(self) -> None:
        if not hasattr(self, "table"):
            return
        here = {job.id: (job.state, job.wish, job.cancelling) for job in self.table.page(None, 10**6, None)}
        assert here == self.jobs
        open_folders = [wish.folder for state, wish, _ in here.values() if is_open(state)]
        assert len(open_folders) == len(set(open_folders))
        assert [job.id for job in self.table.queued()] == sorted(n for n, job in here.items() if job[0] == "queued")
        events = self.table.events(0, 10**6)
        assert len(events) == self.n_changes and self.table.event_ids[1] == self.n_changes
        last = {event["data"]["id"]: event["data"]["state"] for event in events if event["data"]}
        assert {str(n): state for n, (state, _, _) in self.jobs.items()}.items() <= last.items()


def open_table(folder: Path) -> JobTable:
    """Open the table without waiting for the disk: what is tested is its logic."""
    table = JobTable.open(folder)
    table._connection.execute("PRAGMA synchronous = OFF")
    return table


def is_open(state: str) -> bool:
    return state in ("queued", "running")


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, stateful_step_count=25, deadline=None, derandomize=True)


def test_a_cancel_that_a_crash_cuts_short_is_a_cancel_still(tmp_path: Path) -> None:
    wishes = [Wish(folder, "r", folder[2:], "m/s", None, "auto") for folder in FOLDERS[:2]]
    table = JobTable.open(tmp_path)
    for job in table.submit(wishes, "2026-01-01T00:00:00Z")[0]:
        table.start(job.id, "2026-01-01T00:00:01Z")
    table.cancelling(1)
    table.close()
    table = JobTable.open(tmp_path)
    table.recover("2026-01-01T00:00:02Z")
    assert [job.state for job in table.page(None, 9, None)] == ["queued", "cancelled"]
    table.close()
