"""The checkpoint keeps what came, byte for byte, and refuses what is not its own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from saefetch.decode import ExplanationRow, FeatureRow, Rows
from saefetch.errors import StoreError
from saefetch.explanations import Explanation, Preference
from saefetch.names.identity import MAX_FEATURES
from saefetch.publish import SaeInfo, all_texts, render
from saefetch.search import build, search
from saefetch.service.mirror.feature import Sae, Verdict
from saefetch.store.answers import Answers, ExportObject
from saefetch.store.records import HERE, State
from saefetch.store.store import Store

NOW = "2026-01-02T03:04:05Z"
N = 6
"""Few features and few objects, so that they overlap all the time."""
IN_MEMORY = Path("/dev/shm")
PREFERENCE = Preference(("kind",), ("model",))
INFO = SaeInfo("release", "id", "model/source", N, NOW)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["\0", "a\nb\r", "\u2028", "'--"]
)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def feature(index: int, word: str = "w", max_activation: float | None = 1.0) -> FeatureRow:
    return index, max_activation, 0.5, orjson.dumps([word]), b"[]"


def explained(index: int, text: str) -> ExplanationRow:
    return index, "kind", "model", text


def rows(*indices: int, word: str = "w") -> Rows:
    return Rows([feature(i, word) for i in indices], [explained(i, f"{word} {i}") for i in indices])


def export(key: str, etag: str, rows: Rows) -> Answers:
    return Answers(rows, export_object=ExportObject(key, etag, 1))


def rendered(store: Store, n_features: int = N) -> bytes:
    return b"".join(render(store, INFO, PREFERENCE))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=10), NUMBERS, NUMBERS)
def test_any_text_and_any_number_comes_back_as_it_went_in(
    store: Store, text: str, kind: str, model: str, tokens: list[str], number: float | None, share: float | None
) -> None:
    row = (2, number, share, orjson.dumps(tokens), orjson.dumps(tokens[::-1]))
    store.commit(Answers(Rows([row], [(2, kind, model, text)])), NOW)
    record = store.record(2)
    assert record.explanations == [Explanation(text, kind, model)]
    assert (record.max_activation, record.frac_nonzero) == (number, share)
    assert orjson.loads(record.positive) == tokens
    assert orjson.loads(record.negative) == tokens[::-1]
    published = orjson.loads(rendered(store))["features"]["2"]
    assert published["description"] == (text if text.strip() else None)
    assert published["top_positive_tokens"] == tokens
    assert published["max_activation"] == number


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit(export("a", '"1"', rows(0, 1)), NOW)
    store.settle()
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.sqlite"]
    again = Store.open(tmp_path)
    assert again.etags() == {"a": '"1"'}
    assert list(again.states(3)) == [State.GOT, State.GOT, State.UNKNOWN]
    again.close()


def test_a_reader_works_beside_the_writer_and_sees_whole_chunks(tmp_path: Path) -> None:
    writer = Store.open(tmp_path)
    reader = Store.open_read_only(tmp_path)
    assert list(reader.states(2)) == [State.UNKNOWN, State.UNKNOWN]
    with writer.transaction() as connection:
        connection.execute("INSERT INTO features VALUES (0, 0, 0, NULL, NULL, '[]', '[]')")
        assert list(reader.states(2)) == [State.UNKNOWN, State.UNKNOWN]
    assert list(reader.states(2)) == [State.GOT, State.UNKNOWN]
    with pytest.raises(StoreError):
        reader.commit(Answers(rows(1)), NOW)
    reader.close()
    writer.close()


def test_an_interrupted_reader_leaves_nothing_open(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit(Answers(rows(*range(2000))), NOW)
    records = store.records(0, 2000)
    next(records)
    store.interrupt()
    with pytest.raises(StoreError, match="interrupted") as failure:
        list(records)
    store.settle()  # which SQLite refuses while a statement is open
    assert store.states(1)[0] == State.GOT
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.sqlite"]
    assert failure.tb is not None, "the traceback was still alive"


def test_a_chunk_that_cannot_be_taken_in_whole_is_not_taken_in_at_all(store: Store) -> None:
    store.commit(export("a", "1", rows(0, word="old")), NOW)
    before = rendered(store)
    broken: Any = [feature(0, "new"), (1, None, None, None, None)]
    with pytest.raises(StoreError):
        store.commit(export("a", "2", Rows(broken)), NOW)
    assert rendered(store) == before
    assert store.etags() == {"a": "1"}


@dataclass
class Origin:
    """The rows that one object, or the API, brought."""

    etag: str = ""
    features: dict[int, tuple[FeatureRow, int]] = field(default_factory=dict)
    explanations: dict[int, set[Explanation]] = field(default_factory=dict)

    def take(self, rows: Rows, epoch: int) -> None:
        for row in rows.features:
            self.features[row[0]] = row, epoch
        for index, kind, model, text in rows.explanations:
            self.explanations.setdefault(index, set()).add(Explanation(text, kind, model))


INDICES = st.integers(0, N - 1)
FEATURES = st.builds(feature, INDICES, st.sampled_from("xyz"), st.sampled_from([None, 1.0, 2.0]))
EXPLANATIONS = st.builds(explained, INDICES, st.sampled_from(["p", "q", "r\0s", " \u2003"]))
ROWS = st.builds(Rows, st.lists(FEATURES, max_size=4), st.lists(EXPLANATIONS, max_size=4))
KEYS, ETAGS = st.sampled_from("abc"), st.sampled_from("12")


class AgainstAModel(RuleBasedStateMachine):
    """The same calls to the store and to dictionaries."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.store = Store.open(self.folder)
        self.objects: dict[str, Origin] = {}
        self.api = Origin()
        self.absent: dict[int, tuple[State, int]] = {}
        self.epoch = 0
        self.refreshing = self.half = False

    @rule(key=KEYS, etag=ETAGS, rows=ROWS)
    def an_object_comes_in(self, key: str, etag: str, rows: Rows) -> None:
        self.store.commit(export(key, etag, rows), NOW)
        self.objects[key] = Origin(etag)
        self.objects[key].take(rows, self.epoch)
        for row in rows.features:
            self.api.features.pop(row[0], None)
        for explanation in rows.explanations:
            self.api.explanations.pop(explanation[0], None)

    @rule(
        features=st.lists(FEATURES, max_size=3, unique_by=lambda row: row[0]),
        text=st.sampled_from("pqr"),
        missing=st.sets(INDICES, max_size=2),
        failed=st.sets(INDICES, max_size=2),
    )
    def the_api_answers(self, features: list[FeatureRow], text: str, missing: set[int], failed: set[int]) -> None:
        there = {row[0] for row in features}
        missing, failed = missing - there, failed - there - missing
        found = Rows(features, [explained(row[0], text) for row in features if row[0] % 2])
        self.store.commit(Answers(found, sorted(missing), [(index, "timed out") for index in failed]), NOW)
        for origin in (self.api, *self.objects.values()):
            for index in there | missing:
                origin.features.pop(index, None)
                origin.explanations.pop(index, None)
        for index in there:
            self.absent.pop(index, None)
        self.api.take(found, self.epoch)
        self.absent |= dict.fromkeys(missing, (State.MISSING, self.epoch))
        self.absent |= dict.fromkeys(failed, (State.FAILED, self.epoch))

    @rule(keys=st.sets(KEYS))
    def the_export_now_has_only(self, keys: set[str]) -> None:
        self.store.keep_objects(keys)
        self.objects = {key: origin for key, origin in self.objects.items() if key in keys}

    @rule(half=st.booleans())
    def the_export_is_half_read_or_not(self, half: bool) -> None:
        self.store.set_meta(export_open=int(half))
        self.half = half

    @rule()
    def what_is_unknown_is_not_in_the_export(self) -> None:
        unknown = [index for index in range(N) if self.expected(index) in (State.UNKNOWN, State.FAILED)]
        self.store.mark_not_exported(unknown, NOW)
        self.absent |= dict.fromkeys(unknown, (State.NOT_EXPORTED, 0))

    @rule()
    def a_refresh_begins_or_goes_on(self) -> None:
        self.store.begin_refresh(1e9)
        self.epoch += not self.refreshing
        self.refreshing = True

    @precondition(lambda self: self.refreshing)
    @rule()
    def the_refresh_ends(self) -> None:
        self.store.set_meta(refreshing=0)
        self.refreshing = False

    @rule(settled=st.booleans())
    def the_process_is_another(self, settled: bool) -> None:
        if settled:
            self.store.settle()
        self.store.close()
        self.store = Store.open(self.folder)

    def expected(self, index: int, *, api_only: bool = False, epoch: int = 0) -> State:
        exported = [] if api_only else list(self.objects.values())
        answered = index in self.api.features and self.api.features[index][1] >= epoch
        state, since = self.absent.get(index, (State.UNKNOWN, 0))
        if since < epoch:
            state = State.UNKNOWN
        explaining = exported if epoch or api_only else [self.api, *exported]
        explained = any(index in origin.explanations for origin in explaining)
        if answered or any(index in origin.features for origin in exported):
            if self.half and state == State.FAILED:
                return State.FAILED
            return State.GOT if answered or explained else State.UNEXPLAINED
        orphan = not api_only and explained
        if state == State.NOT_EXPORTED and (api_only or orphan):
            state = State.UNKNOWN
        return State.ORPHAN if state == State.UNKNOWN and orphan else state

    @invariant()
    def states_are_the_models(self) -> None:
        for api_only in (False, True):
            for epoch in {0, self.epoch}:
                states = self.store.states(N, api_only=api_only, epoch=epoch)
                assert list(states) == [self.expected(i, api_only=api_only, epoch=epoch) for i in range(N)]
        states = self.store.states(N)
        origins = (self.api, *self.objects.values())
        bare = {i for i in range(N) if not any(i in origin.explanations for origin in origins)}
        assert self.store.unexplained(range(N), states) == {
            "api": len(bare & self.api.features.keys()),
            "export": list(states).count(State.UNEXPLAINED),
        }

    @invariant()
    def records_are_the_models(self) -> None:
        for index, record in enumerate(self.store.records(0, N)):
            assert (record.index, record.state) == (index, self.expected(index))
            assert (record.error is None) == (record.state in HERE)
            one = self.store.one(index)
            assert one.record == record and one.by_api == (index in self.api.features)
            verdict = Sae("m", "0-s", N).verdict(one, index)
            assert (verdict is Verdict.GONE) == (record.state == State.MISSING)
            assert verdict is not Verdict.HERE or record.state in (State.GOT, State.UNEXPLAINED)
            if record.state not in HERE:
                assert (record.explanations, record.positive, record.max_activation) == ([], b"[]", None)
                continue
            origins = [self.api, *self.objects.values()]
            assert set(record.explanations) == set().union(*(o.explanations.get(index, set()) for o in origins))
            rows = [origin.features[index][0] for origin in origins if index in origin.features]
            if rows:
                best = rows[0] if index in self.api.features else min(rows, key=_stable)
                assert (record.max_activation, record.positive) == (best[1], best[3])

    @invariant()
    def objects_are_the_models(self) -> None:
        assert self.store.etags() == {key: origin.etag for key, origin in self.objects.items()}

    @rule()
    def the_index_is_made_of_what_the_records_say(self) -> None:
        build(self.store, N, PREFERENCE)
        texts = {record.index: "\n".join(all_texts(record, PREFERENCE)) for record in self.store.records(0, N)}
        expected = {len(text) * MAX_FEATURES + i: text.replace("\0", " ") for i, text in texts.items() if text}
        assert dict(self.store.query("SELECT id, text FROM documents")) == expected

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


def _stable(row: FeatureRow) -> tuple[bytes, bytes, bool, float]:
    return row[3], row[4], row[1] is not None, row[1] or 0.0


AgainstAModel.TestCase.settings = settings(
    max_examples=80, stateful_step_count=15, deadline=None, phases=set(Phase) - {Phase.explain}
)
TestTheStoreDoesWhatDictionariesWould = AgainstAModel.TestCase


OBJECTS = [
    export("features/0", "1", Rows([feature(0), feature(1, "x"), feature(1, "y")])),
    export("features/1", "1", Rows([feature(1, "x", 2.0), feature(2, max_activation=None)])),
    export("explanations/1", "1", Rows([], [explained(0, "a"), explained(1, "b"), explained(1, "c")])),
    export("explanations/2", "1", Rows([], [explained(1, "b"), explained(1, "d"), explained(4, "an orphan")])),
]
BATCHES = [
    Answers(rows(0, 1), missing=[2]),
    Answers(rows(3), failed=[(4, "500")]),
    Answers(rows(5)),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("chunks", [OBJECTS, BATCHES], ids=["export", "batch"])
def test_any_completion_order_publishes_identical_bytes(tmp_path: Path, chunks: list[Answers], data: Any) -> None:
    published = []
    for order in (chunks, data.draw(st.permutations(chunks))):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            store = Store.open(Path(folder))
            for chunk in order:
                store.commit(chunk, NOW)
            published.append(rendered(store))
            store.close()
    assert published[0] == published[1]


def test_rows_of_an_object_that_changed_are_never_seen_though_they_are_still_there(store: Store) -> None:
    store.commit(export("a", "1", rows(0, 1, word="old")), NOW)
    store.commit(export("a", "2", rows(1, word="new")), NOW)
    (n_rows,) = next(store.query("SELECT count(*) FROM features"))
    assert n_rows == 3, "nothing is dead here, so this test shows nothing"
    assert list(store.states(2)) == [State.UNKNOWN, State.GOT]
    assert [record.explanations for record in store.records(0, 2)] == [[], [Explanation("new 1", "kind", "model")]]
    assert b"old" not in rendered(store)
    build(store, N, Preference())
    assert search(store, "old", 10) == []
    store.keep_objects(["a"])
    assert next(store.query("SELECT count(*) FROM features")) == (1,)
    assert list(store.states(2)) == [State.UNKNOWN, State.GOT]


def test_an_object_that_comes_after_all_were_forgotten_revives_no_dead_row(store: Store) -> None:
    store.commit(export("a", "1", rows(0)), NOW)
    with store.transaction() as connection:  # a crash before the burial
        connection.execute("DELETE FROM objects WHERE key = 'a'")
    store.commit(export("b", "1", rows(1)), NOW)
    assert list(store.states(2)) == [State.UNKNOWN, State.GOT]


def test_burying_dead_rows_tells_readers_that_the_labels_changed_only_if_they_did(store: Store) -> None:
    store.commit(export("a", "1", rows(0)), NOW)
    generation = store.generation
    store.keep_objects(["a"])
    assert store.generation == generation
    store.keep_objects([])
    assert store.generation > generation


def test_described_counts_just_what_has_a_text(store: Store) -> None:
    blank = [explained(0, ""), explained(1, " \n\u2003"), explained(2, "a"), explained(2, ""), explained(3, "b")]
    store.commit(export("a", "1", Rows([], blank)), NOW)
    store.commit(export("b", "1", Rows([], [explained(4, "dead")])), NOW)
    store.commit(export("b", "2", Rows([], [])), NOW)
    assert store.described(0, 6) == {2, 3}
    assert store.described(3, 6) == {3}


def test_the_end_of_a_half_read_export_changes_what_is_published(store: Store) -> None:
    store.commit(export("a", "1", rows(0)), NOW)
    store.set_meta(export_open=1)
    store.commit(Answers(failed=[(0, "timed out")]), NOW)
    before, generation = rendered(store), store.generation
    store.keep_objects(["a"])
    store.set_meta(export_open=0)
    assert rendered(store) != before
    assert store.generation > generation


def foreign_database(path: Path, *, mode: str = "DELETE") -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.execute("INSERT INTO bookmarks VALUES ('https://example.org')")
    connection.close()


def foreign_database_in_use(path: Path) -> None:
    """A database whose owner died: its last changes are in the write-ahead log beside it."""
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('CREATE TABLE t (x)'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=False)
    assert path.with_name(path.name + "-wal").stat().st_size > 0


def empty_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()


def another_schema(path: Path, version: int) -> None:
    Store.open(path.parent).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


FOREIGN = {
    "another program's database": (foreign_database, "not one of saefetch's"),
    "one in WAL mode": (lambda path: foreign_database(path, mode="WAL"), "not one of saefetch's"),
    "one with a log beside it": (foreign_database_in_use, "not one of saefetch's"),
    "an older schema": (lambda path: another_schema(path, 0), "an older saefetch"),
    "a newer schema": (lambda path: another_schema(path, 99), "a newer saefetch"),
    "garbage": (lambda path: path.write_bytes(b"\x00garbage\xff" * 1000), "not a database"),
    "a short text": (lambda path: path.write_bytes(b"hello"), "not a database"),
    "an empty database of somebody's": (
        lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 7"),
        "saefetch",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("open_store", [Store.open, Store.open_read_only])
def test_a_file_that_is_not_ours_is_refused_in_one_line_and_left_as_it_is(
    tmp_path: Path, name: str, open_store: Any
) -> None:
    make, expected = FOREIGN[name]
    path = tmp_path / "labels.sqlite"
    make(path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
    with pytest.raises(StoreError) as refusal:
        open_store(tmp_path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
    assert after == before


def test_a_file_of_zero_bytes_is_a_store_to_be(tmp_path: Path) -> None:
    (tmp_path / "labels.sqlite").touch()
    with pytest.raises(StoreError):
        Store.open_read_only(tmp_path)
    store = Store.open(tmp_path)
    store.commit(Answers(rows(0)), NOW)
    assert store.record(0).state == State.GOT
    store.close()


def test_a_store_damaged_in_the_middle_is_an_error_of_one_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit(Answers(rows(*range(2000))), NOW)
    store.settle()
    store.close()
    path = tmp_path / "labels.sqlite"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:] = b"\xaa" * (len(content) - middle)
    path.write_bytes(content)
    damaged = Store.open_read_only(tmp_path)
    with pytest.raises(StoreError, match="damaged") as failure:
        damaged.states(2000)
    damaged.close()
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("open_store", [Store.open, Store.open_read_only])
def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, open_store: Any) -> None:
    (tmp_path / "a file").touch()
    for folder in (tmp_path / "nowhere", tmp_path / "a file"):
        with pytest.raises(StoreError, match=r"labels\.sqlite: "):
            open_store(folder)


FILL = """
import resource, sys
from pathlib import Path
from saefetch.decode import Rows
from saefetch.errors import StoreError
from saefetch.store.answers import Answers
from saefetch.store.store import Store
store = Store.open(Path(sys.argv[1]))
if sys.argv[2] != "disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
n = 0
try:
    for n in range(10_000):
        explanations = [(100 * n + k, "kind", "model", "label " * 20) for k in range(100)]
        store.commit(Answers(Rows([(row[0], 1.0, 0.5, b"[]", b"[]") for row in explanations], explanations)), "now")
except StoreError as exc:
    print(n)
    print(exc)
"""


def fill(folder: Path, limit: str) -> None:
    """Commit chunks until the disk is full; what was committed before must be there afterwards, and no more."""
    done = subprocess.run([sys.executable, "-c", FILL, folder, limit], check=True, capture_output=True, text=True)
    n_committed, line = done.stdout.splitlines()
    assert int(n_committed) > 0
    assert line.startswith(f"{folder / 'labels.sqlite'}: ")
    assert "what was committed is safe" in line
    store = Store.open_read_only(folder)
    states = list(store.states(100 * int(n_committed) + 100))
    store.close()
    assert states == [State.GOT] * 100 * int(n_committed) + [State.UNKNOWN] * 100


def test_a_write_that_the_system_refuses_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    fill(tmp_path, "300000")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_a_full_disk_loses_nothing_that_was_committed(small_disk: Path) -> None:
    fill(small_disk, "disk")
    with pytest.raises(StoreError, match="the disk is full"):
        store = Store.open(small_disk)
        for index in range(10_000):
            store.commit(Answers(rows(index, word="w" * 10_000)), NOW)
    store.close()


def test_a_read_only_disk_can_be_read_but_not_written(small_disk: Path) -> None:
    store = Store.open(small_disk)
    store.commit(Answers(rows(0)), NOW)
    store.settle()
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    readable = Store.open_read_only(small_disk)
    assert readable.record(0).state == State.GOT
    readable.close()
    with pytest.raises(StoreError, match="may be written"):
        Store.open(small_disk)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="may be written"):
            Store.open(tmp_path)
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(("hours", "goes_on"), [(1, True), (23, True), (25, False)])
def test_a_refresh_that_was_given_up_long_ago_does_not_count_as_one_that_goes_on(
    tmp_path: Path, hours: int, goes_on: bool
) -> None:
    store = Store.open(tmp_path)
    store.begin_refresh(1e9)
    epoch = store.meta("epoch")
    store.begin_refresh(1e9 + hours * 3600)
    assert (store.meta("epoch") == epoch) is goes_on
    store.close()
