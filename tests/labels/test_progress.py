"""What a person sees while a run goes on."""

import io
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from saefetch.names.identity import Target
from saefetch.net.transport import Counters
from saefetch.terminal.progress import Board, Live, Pace, PauseNews, Plain, Quiet, duration, make_display, until_time

JOB, OTHER = "release layer_1/width_16k/canonical", "release layer_2/width_16k/canonical"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeTransport:
    """The transport's figures, as a test wants them."""

    counters: Counters = field(default_factory=Counters)
    paused_s: float | None = None
    quota_left: int | None = None


def live(width: int, n_jobs: int = 1, n_features: int = 1000) -> tuple[Live, Console, Clock]:
    console = Console(file=io.StringIO(), width=width, height=20, force_terminal=True, color_system="standard")
    clock = Clock()
    return Live(n_jobs, n_features, console, clock), console, clock


def screen(display: Live, console: Console) -> list[str]:
    """Return the lines of the live part as they would be drawn now, without colours."""
    paper = Console(file=io.StringIO(), width=console.width)
    with paper.capture() as drawn:
        paper.print(display._render())
    return [line.rstrip() for line in drawn.get().splitlines()]


@pytest.mark.parametrize("width", [80, 50])
def test_the_live_display_shows_features_rate_time_left_requests_retries_and_quota(width: int) -> None:
    display, console, clock = live(width)
    try:
        display.start(JOB, 1000, 200)
        clock.now += 4
        display.advance(JOB, 600)
        display.tick(FakeTransport(Counters(requests=30, retries=2), quota_left=24_000))
        lines = screen(display, console)
    finally:
        display.close()
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("layer_1/width_16k/ca") and lines[0].endswith("600/1,000")
    figures = " ".join(lines[1:])
    assert figures == "100 features/s · 4 s left · 30 requests · 2 retries · quota 24,000 left"


def test_the_live_display_says_until_when_everything_pauses_and_that_ctrl_c_is_safe() -> None:
    display, console, _ = live(50)
    try:
        display.start(JOB, 1000, 0)
        display.tick(FakeTransport(paused_s=3000))
        paused = screen(display, console)[-1]
        display.tick(FakeTransport())
        assert "paused" not in screen(display, console)[-1]
    finally:
        display.close()
    match = re.fullmatch(r"paused until (\d\d:\d\d:\d\d), Ctrl-C is safe", paused)
    assert match
    at = (datetime.now() + timedelta(seconds=3000)).replace(microsecond=0)
    assert match[1] in {(at - timedelta(seconds=n)).strftime("%H:%M:%S") for n in range(-1, 5)}


def test_a_queue_shows_how_far_it_is_as_a_whole_and_each_open_job() -> None:
    display, console, _ = live(80, n_jobs=26, n_features=26_000)
    try:
        display.start(JOB, 1000, 0)
        display.advance(JOB, 1000)
        display.finish(JOB)
        display.start(OTHER, 1000, 500)
        first, second, *_ = screen(display, console)
    finally:
        display.close()
    assert first.startswith("1 of 26 SAEs") and first.endswith("1,500/26,000")
    assert second.startswith("layer_2/width_16k/canonical") and second.endswith("500/1,000")


def test_a_job_of_unknown_width_and_one_that_never_began_do_no_harm() -> None:
    display, console, _ = live(50, n_jobs=2, n_features=0)
    try:
        assert screen(display, console)[0].startswith("0 of 2 SAEs")
        display.finish(OTHER)
        display.start(JOB, 70, 0)
        display.tick(FakeTransport())
        assert "70" in screen(display, console)[1]
    finally:
        display.close()


def test_the_live_display_leaves_nothing_behind_but_what_it_said() -> None:
    display, console, _ = live(80)
    display.start(JOB, 1000, 0)
    display.say("a line [red]that stays[/red]")
    display.close()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a line [red]that stays[/red]" in written
    assert written.rstrip().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K")), (
        "the last thing it does is to clean up"
    )
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor is back"


def test_plain_lines_come_now_and_then_and_hold_no_escape_sequences() -> None:
    clock = Clock()
    lines: list[str] = []
    display = Plain(lines.append, 1, 1000, clock)
    display.start(JOB, 1000, 200)
    for second in range(12):
        clock.now += 1
        display.advance(JOB, 200 + 50 * second)
        display.tick(FakeTransport(Counters(requests=second), quota_left=7))
    display.finish(JOB)
    display.close()
    assert lines[0] == f"{JOB}: 1,000 features, 200 already here\n"
    assert len(lines) == 3
    assert re.fullmatch(
        rf"{JOB}: 650 of 1,000, \d+ features/s, \d+ s left, 9 requests, 0 retries, quota 7 left\n", lines[2]
    )
    assert "\x1b" not in "".join(lines)


def test_a_pause_is_said_once_and_again_when_it_grows() -> None:
    noon = datetime(2026, 1, 1, 12)
    news = PauseNews(lambda: noon)
    first = news.hear(60)
    assert first and "Ctrl-C is safe" in first and "12:01:00" in first
    assert news.hear(60) is None and news.hear(59.5) is None
    longer = news.hear(600)
    assert longer and "12:10:00" in longer
    assert news.hear(None) is None and news.hear(60) is not None


def test_plain_lines_say_a_pause_at_once() -> None:
    clock = Clock()
    lines: list[str] = []
    display = Plain(lines.append, 1, 1000, clock)
    display.tick(FakeTransport(paused_s=60))
    display.tick(FakeTransport(paused_s=59.9))
    assert len(lines) == 1 and "everything pauses until" in lines[0]


def test_a_pause_of_any_length_can_be_said() -> None:
    assert PauseNews().hear(1e300) is not None
    now = datetime.now()
    assert re.fullmatch(r"until \d\d:\d\d:\d\d", until_time(now + timedelta(hours=1)))
    assert re.fullmatch(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", until_time(now + timedelta(days=3)))


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.left_s(10) is None, "nobody can tell yet"
    for _ in range(60):
        clock.now += 1
        pace.add(10)
    assert pace.per_second == pytest.approx(10, rel=0.15)
    for _ in range(15):
        clock.now += 1
        pace.add(100)
    assert pace.per_second == pytest.approx(100, rel=0.15)
    assert pace.left_s(1000) == pytest.approx(10, rel=0.15)


def test_what_is_already_here_does_not_count_as_speed() -> None:
    clock = Clock()
    board = Board(1, 1000, clock)
    board.start(JOB, 1000, 900)
    clock.now += 1
    board.advance(JOB, 910)
    assert board.pace.per_second == 10 and board.n_left == 90


def test_everything_fetched_means_that_the_files_are_being_written() -> None:
    board = Board(1, 1000, Clock())
    board.start(JOB, 1000, 1000)
    assert "writing the files" in board.figures(FakeTransport())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (1e9, "277,777 h 46 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds).startswith(text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_display_fits_where_stderr_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [Target("r", "s", "m/s", 10)]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(make_display(quiet=False, targets=targets), Plain)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(make_display(quiet=True, targets=targets), Quiet)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_display(quiet=False, targets=targets), Plain)
    monkeypatch.setenv("TERM", "xterm")
    display = make_display(quiet=False, targets=targets)
    assert isinstance(display, Live)
    display.close()


def test_the_time_left_counts_only_the_features_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    targets = [Target("r", "s", "m/s", 1000), Target("r", "t", "m/t", 50), Target("r", "u", "m/u", None)]
    display = make_display(quiet=False, targets=targets, scope=range(20, 120))
    assert isinstance(display, Plain)
    assert display._board.n_left == 100 + 30


def test_the_live_display_can_be_drawn_while_jobs_come_and_go() -> None:
    display, _, _ = live(80, n_jobs=2000, n_features=2000)
    display._live.stop()  # this test draws by itself
    errors: list[Exception] = []
    done = threading.Event()

    def draw() -> None:
        try:
            while not done.is_set():
                display._render()
        except Exception as exc:
            errors.append(exc)

    drawing = threading.Thread(target=draw)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        drawing.start()
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and not errors:
            for name in range(10):
                display.start(f"r {name}", 1, 0)
            for name in range(10):
                display.finish(f"r {name}")
    finally:
        done.set()
        drawing.join()
        sys.setswitchinterval(interval)
    assert not errors
