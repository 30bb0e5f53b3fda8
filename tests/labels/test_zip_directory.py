"""The zip directory says what the standard library's reader says, and a false one costs neither memory nor bytes."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saefetch.files.zip_directory import LOCAL_HEADER_BYTES, Entry, ZipError, read_directory

MAX_BYTES = 1 << 20
NAMES = st.text(st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1, max_size=20)
FILES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=300), st.booleans()), max_size=6)


class Bytes:
    """A file's bytes, and how many of them were read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.n_read = content, 0

    def read(self, offset: int, n_bytes: int) -> bytes:
        assert offset >= 0 and n_bytes >= 0
        got = self.content[offset : offset + n_bytes]
        self.n_read += len(got)
        return got

    def entries(self) -> list[Entry]:
        return list(read_directory(self.read, len(self.content), max_bytes=MAX_BYTES))


def zipped(files: dict[str, tuple[bytes, bool]], comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = comment
        for name, (content, deflated) in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return target.getvalue()


@given(files=FILES, comment=st.binary(max_size=50).filter(lambda comment: b"P" not in comment), zip64=st.booleans())
def test_entries_are_those_that_the_standard_library_finds(
    files: dict[str, tuple[bytes, bool]], comment: bytes, zip64: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if zip64:
            patch.setattr(zipfile, "ZIP64_LIMIT", 100)  # where the standard library begins to write zip64 records
            patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        content = zipped(files, comment)
    file = Bytes(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        want = archive.infolist()
    found = file.entries()
    assert [(one.name, one.method, one.header, one.n_packed, one.n_bytes) for one in found] == [
        (one.filename, one.compress_type, one.header_offset, one.compress_size, one.file_size) for one in want
    ]
    for entry in found:
        begin = entry.payload(file.read(entry.header, LOCAL_HEADER_BYTES))
        packed = content[begin : begin + entry.n_packed]
        assert entry.is_stored is not files[entry.name][1]
        assert not entry.is_stored or packed == files[entry.name][0]


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_directory_is_refused_or_stays_within_the_file(data: st.DataObject) -> None:
    content = bytearray(zipped({f"a/{i}": (bytes(40), False) for i in range(3)}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 1, 22, len(content) // 2]))
    file = Bytes(bytes(content[: len(content) - cut]))
    try:
        for entry in file.entries():
            begin = entry.payload(file.read(entry.header, LOCAL_HEADER_BYTES))
            assert 0 <= entry.header < begin <= begin + entry.n_packed <= entry.limit <= len(file.content)
    except ZipError as exc:
        assert "\n" not in str(exc)


def end(n_entries: int, n_bytes: int, start: int) -> bytes:
    return b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, n_entries, n_entries, n_bytes, start, 0)


def end64(n_entries: int, n_bytes: int, start: int, at: int) -> bytes:
    record = b"PK\x06\x06" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, n_entries, n_entries, n_bytes, start)
    return record + b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no zip directory"),
        (bytes(100_000), "no zip directory"),
        (bytes(1000) + end(1, 1 << 31, 0), "claims 2147483648 bytes"),
        (bytes(1000) + end(1, 46, 999), "claims 46 bytes at 999"),
        (bytes(3 << 20) + end(1, 2 << 20, 0), "claims 2097152 bytes"),
        (bytes(1000) + end(1, 46, 900), "says 1 entries and ends after 0"),
        (bytes(1000) + end(0, 46, 900), "says 0 entries and goes on"),
        (bytes(1000) + end64(1 << 60, 46, 900, 1000) + end(0xFFFF, 46, 900), "and ends after 0"),
        (bytes(1000) + end64(1, 1 << 62, 0, 1000) + end(0xFFFF, 0, 0), "claims 4611686018427387904"),
        (bytes(1000) + end64(1, 46, 0, 1 << 63) + end(0xFFFF, 0, 0), "zip64 directory is not where"),
    ],
)
def test_a_false_directory_is_refused_before_it_is_read(content: bytes, message: str) -> None:
    file = Bytes(content)
    with pytest.raises(ZipError, match=message):
        file.entries()
    assert file.n_read < 100_000


def test_a_name_that_programs_read_in_two_ways_is_refused() -> None:
    content = zipped({"a/b": (b"", False)})
    for name in (b"a\0b", b"a/\xff"):
        record = content.rindex(b"PK\x01\x02")
        with_flag = bytearray(content.replace(b"a/b", name))
        with_flag[record + 9] |= 0x08  # the name is UTF-8
        with pytest.raises(ZipError, match=r"NUL|not UTF-8"):
            Bytes(bytes(with_flag)).entries()
