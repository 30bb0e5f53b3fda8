"""What a person sees while a run goes on: in a terminal, in a notebook, in a log, and by a function of their own."""

import io
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import nbclient
import nbformat
import pytest
from rich.console import Console

from saefetch.downloading.figures import PauseNews, begin_line, plan_of, until_time, words_of
from saefetch.names.identity import Target
from saefetch.net.request import Counters
from saefetch.terminal.bars import Bars
from saefetch.terminal.board import Board, Pace, Plan, duration
from saefetch.terminal.progress import Calls, Display, Lines, make_display

JOB, OTHER = "release layer_1/width_16k/canonical", "release layer_2/width_16k/canonical"
ID = JOB.split()[1]
LABELS = Plan("features", "SAEs", 1, 1000, "asking the server", "writing the files")
SHARDS = Plan("tokens", "shards", 0, starting="loading the SAE")


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


def bars(width: int, n_items: int = 1, total: int = 1000, plan: Plan | None = None) -> tuple[Bars, Console, Clock]:
    console = Console(file=io.StringIO(), width=width, height=20, force_terminal=True, color_system="standard")
    clock = Clock()
    labels = Plan("features", "SAEs", n_items, total, LABELS.starting, LABELS.finishing)
    return Bars(plan or labels, console, clock), console, clock


def screen(display: Bars) -> list[str]:
    """Return the lines of the live part as they would be drawn now, without colours."""
    paper = Console(file=io.StringIO(), width=display.console.width)
    with paper.capture() as drawn:
        paper.print(display._bars.get_renderable())
    return [line.rstrip() for line in drawn.get().splitlines()]


# -- bars in a terminal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 50])
def test_bars_show_features_rate_time_left_requests_retries_and_quota(width: int) -> None:
    display, _, clock = bars(width)
    with display:
        display.begin(JOB, 1000, 200, short=ID)
        clock.now += 4
        display.advance(JOB, 600)
        display.tick(words_of(FakeTransport(Counters(requests=30, retries=2), quota_left=24_000)))
        lines = screen(display)
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("layer_1/wi") and lines[0].endswith("600/1,000")
    figures = " ".join(lines[1:])
    assert figures == "100 features/s · 4 s left · 30 requests · 2 retries · quota 24,000 left"


def test_bars_say_until_when_everything_pauses_and_that_ctrl_c_is_safe() -> None:
    display, _, _ = bars(50)
    news = PauseNews()
    with display:
        display.begin(JOB, 1000)
        display.tick([], news.hear(3000))
        paused = screen(display)[-1]
        display.tick([], news.hear(None))
        assert "paused" not in screen(display)[-1]
    match = re.match(r"paused until (\d\d:\d\d:\d\d), Ctrl-C is safe", paused)
    assert match
    at = (datetime.now() + timedelta(seconds=3000)).replace(microsecond=0)
    assert match[1] in {(at - timedelta(seconds=n)).strftime("%H:%M:%S") for n in range(-1, 5)}


def test_many_saes_show_how_far_they_are_as_a_whole_and_each_open_one() -> None:
    display, _, _ = bars(80, n_items=26, total=26_000)
    with display:
        display.begin(JOB, 1000)
        display.advance(JOB, 1000)
        display.end(JOB)
        display.begin(JOB + "x", 1000)
        display.begin(OTHER, 1000, 500, short=OTHER.split()[1])
        display.end(JOB + "x")
        display.begin("third", 0)
        display.advance(OTHER, 500)
        display.tick(["3 requests"])
        first, second, *_, last = screen(display)
    assert first.startswith("2 of 26 SAEs") and first.endswith("1,500/26,000")
    assert "features/s" in last and last.endswith("3 requests")
    assert second.startswith("layer_2/width_16k/canonical") and second.endswith("500/1,000")


def test_many_shards_are_counted_as_a_whole_and_the_end_of_a_long_name_is_seen() -> None:
    display, console, _ = bars(80, plan=SHARDS)
    name = "activations__part-00__of-a-corpus-with-a-long-name__shard-00017"
    with display:
        assert screen(display) == ["loading the SAE"]
        display.overall(3, 20)
        display.begin(name, 1000)
        assert len(screen(display)) == 2, "the SAE is loaded"
        display.advance(name, 250, "12,000 tokens/s · 1 s left")
        first, second, below = screen(display)
        display.end(name, "1,000 tokens, L0 70.1")
    assert first.startswith("all shards") and first.endswith("3/20")
    assert second.startswith("activations__part") and "shard-00017 ━" in second and second.endswith("250/1,000")
    assert below == "12,000 tokens/s · 1 s left"
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "shard-00017: 1,000 tokens, L0 70.1" in written.replace("\n", ""), "how a shard ended stays"


def test_an_item_of_unknown_width_and_one_that_never_began_do_no_harm() -> None:
    display, _, _ = bars(50, n_items=2, total=0)
    with display:
        assert screen(display)[0].startswith("0 of 2 SAEs")
        display.end(OTHER)
        display.begin(JOB, 70)
        display.tick()
        assert "70" in screen(display)[1]


def test_bars_leave_nothing_behind_but_the_lines_that_were_said() -> None:
    display, console, _ = bars(80)
    display.begin(JOB, 1000)
    display.say("a line [red]that stays[/red]")
    display.close()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a line [red]that stays[/red]" in written
    assert written.rstrip().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K")), "the last thing is to clean up"
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor is back"


def test_bars_can_be_drawn_while_items_come_and_go() -> None:
    display, _, _ = bars(80, n_items=2000, total=2000)
    display.close()  # this test draws by itself
    errors: list[Exception] = []
    done = threading.Event()

    def draw() -> None:
        try:
            while not done.is_set():
                screen(display)
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
                display.begin(f"r {name}", 1)
            display.tick(["a word"])
            for name in range(10):
                display.end(f"r {name}")
    finally:
        done.set()
        drawing.join()
        sys.setswitchinterval(interval)
    assert not errors


# -- lines, calls, nothing -------------------------------------------------------------------------------------------


def test_lines_come_now_and_then_and_hold_no_escape_sequences() -> None:
    clock = Clock()
    lines: list[str] = []
    display = Lines(lines.append, LABELS, clock)
    display.begin(JOB, 1000, 200, line=begin_line(1000, 200))
    for second in range(12):
        clock.now += 1
        display.advance(JOB, 200 + 50 * second)
        display.tick(words_of(FakeTransport(Counters(requests=second), quota_left=7)))
    display.end(JOB)
    display.close()
    assert lines[0] == f"{JOB}: 1,000 features, 200 already here\n"
    assert len(lines) == 3
    assert re.fullmatch(
        rf"{JOB}: 650 of 1,000, \d+ features/s, \d+ s left, 9 requests, 0 retries, quota 7 left\n", lines[2]
    )
    assert "\x1b" not in "".join(lines)


def test_lines_say_how_far_a_long_shard_is_and_how_each_shard_ended() -> None:
    clock = Clock()
    lines: list[str] = []
    display = Lines(lines.append, SHARDS, clock)
    for ended, name in enumerate(("a", "b")):
        display.overall(ended, 2)
        display.begin(name, 1000)
        for done in (250, 500):
            clock.now += 3
            display.advance(name, done, "12,000 tokens/s")
        display.end(name, "1,000 tokens")
    assert lines == [
        "0 of 2 shards, a: 500 of 1,000, 12,000 tokens/s\n",
        "a: 1,000 tokens\n",
        "1 of 2 shards, b: 500 of 1,000, 12,000 tokens/s\n",
        "b: 1,000 tokens\n",
    ]


def test_lines_say_a_pause_at_once_and_only_once() -> None:
    lines: list[str] = []
    display, news = Lines(lines.append, LABELS, Clock()), PauseNews()
    display.tick([], news.hear(60))
    display.tick([], news.hear(59.9))
    assert len(lines) == 1 and "paused until" in lines[0] and "the server asks us to wait" in lines[0]


def test_a_function_is_called_with_what_is_done_of_how_much_and_words_and_never_goes_back() -> None:
    calls: list[tuple[int, int, str]] = []
    display = Calls(lambda *call: calls.append(call), LABELS)
    display.begin(JOB, 1000, 200, line=begin_line(1000, 200))
    for done in (600, 500, 1000):
        display.advance(JOB, done)
    display.say("note")
    display.end(JOB)
    assert [call[:2] for call in calls] == [(n, 1000) for n in (200, 600, 600, 1000, 1000, 1000)]
    assert calls[0][2] == f"{JOB}: 1,000 features, 200 already here" and calls[4][2] == "note"
    assert calls[1][2] == f"{JOB}: 600 of 1,000"


def test_a_function_is_called_with_shards_where_the_run_counts_shards() -> None:
    calls: list[tuple[int, int, str]] = []
    display = Calls(lambda *call: calls.append(call), SHARDS)
    display.overall(0, 1)
    display.overall(0, 1)
    display.begin("a", 1000)
    display.advance("a", 500, "L0 70")
    display.end("a", "1,000 tokens")
    display.overall(1, 1)
    assert calls == [
        (0, 1, "0 of 1 shards"),
        (0, 1, "a"),
        (0, 1, "a: 500 of 1,000, L0 70"),
        (0, 1, "a: 1,000 tokens"),
        (1, 1, "1 of 1 shards"),
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_display_fits_where_the_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(make_display(), Lines)
    assert isinstance(make_display(lambda done, total, text: None), Calls)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert type(make_display(False)) is Display
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_display(True), Lines)
    monkeypatch.setenv("TERM", "xterm")
    display = make_display(True)
    assert isinstance(display, Bars)
    display.close()


NOTEBOOK = """
import threading
from saefetch.terminal.board import Plan
from saefetch.terminal.progress import make_display
with make_display(True, Plan("features", "SAEs", 1, 1000, finishing="writing")) as display:
    display.begin("release layer_1/<b>", 1000, 200)
    thread = threading.Thread(target=display.advance, args=("release layer_1/<b>", 1000))
    thread.start(); thread.join()
    display.tick(["30 requests"])
    display.say("a line [red]<i>")
    display.end("release layer_1/<b>")
"""


def test_a_notebook_shows_one_bar_that_is_full_in_the_end_and_needs_no_ipywidgets() -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
    outputs: list[Any] = book.cells[0].outputs
    assert [output["output_type"] for output in outputs] == ["display_data", "stream"]
    assert outputs[1]["name"] == "stdout" and outputs[1]["text"] == "a line [red]<i>\n", "no warning beside it"
    plain, html = outputs[0]["data"]["text/plain"], outputs[0]["data"]["text/html"]
    assert plain.startswith("features ━") and "1,000/1,000" in plain and plain.endswith("features/s · 30 requests")
    assert "<pre" in html and "1,000/1,000" in html and "layer_1/<b>" not in html


# -- the figures -----------------------------------------------------------------------------------------------------


def test_a_pause_is_told_in_the_same_words_until_it_grows() -> None:
    noon = datetime(2026, 1, 1, 12)
    news = PauseNews(lambda: noon)
    first = news.hear(60)
    assert "Ctrl-C is safe" in first and "12:01:00" in first
    assert news.hear(60) == news.hear(59.5) == first
    assert "12:10:00" in news.hear(600)
    assert news.hear(None) == "" and news.hear(60) == first


def test_a_pause_of_any_length_can_be_said() -> None:
    assert PauseNews().hear(1e300)
    now = datetime.now()
    assert re.fullmatch(r"until \d\d:\d\d:\d\d", until_time(now + timedelta(hours=1), now))
    assert re.fullmatch(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", until_time(now + timedelta(days=3), now))


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
    board = Board(LABELS, clock)
    board.begin(JOB, 1000, 900)
    clock.now += 1
    board.advance(JOB, 910, "")
    assert board.pace.per_second == 10 and board.whole == (910, 1000)


def test_everything_fetched_means_that_the_files_are_being_written() -> None:
    board = Board(LABELS, Clock())
    board.begin(JOB, 1000, 1000)
    assert "writing the files" in board.figures()


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


def test_the_time_left_counts_only_the_features_asked_for() -> None:
    targets = [Target("r", "s", "m/s", 1000), Target("r", "t", "m/t", 50), Target("r", "u", "m/u", None)]
    assert plan_of(targets, scope=range(20, 120)).total == 100 + 30
    assert plan_of(targets).total == 1050 and plan_of(targets).n_items == 3
