"""Where documents begin is one answer, however the rows are cut into blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from encoder.file.documents import DocumentCounter, document_starts

SHARDS = st.lists(st.none() | st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4)


@given(shards=SHARDS, block_rows=st.integers(1, 5))
def test_a_folder_has_the_documents_of_its_shards_however_it_is_cut_into_blocks(
    shards: list[list[int] | None], block_rows: int
) -> None:
    counter, numbers, begun, n_documents = DocumentCounter(), [], [], 0
    for shard, said in enumerate(shards):
        rows = [0] * 7 if said is None else said
        want = [i for i in range(len(rows)) if i == 0 or rows[i] != rows[i - 1]]
        array = None if said is None else np.array(said)
        assert document_starts(array, len(rows)).tolist() == want
        for at in range(0, len(rows), block_rows):
            block = None if array is None else array[at : at + block_rows]
            n_rows = min(block_rows, len(rows) - at)
            of_rows, starts = counter.number(shard, block, n_rows)
            numbers += of_rows.tolist()
            begun += (starts + at).tolist()
        assert numbers[-len(rows) :] == [n_documents + sum(i <= row for i in want) - 1 for row in range(len(rows))]
        assert begun[-len(want) :] == want
        n_documents += len(want)
    assert (counter.count, len(begun)) == (n_documents, n_documents)


def test_a_shard_without_rows_has_no_document() -> None:
    assert document_starts(None, 0).tolist() == document_starts(np.zeros(0, np.int64), 0).tolist() == []


def test_a_document_that_begins_where_a_block_read_from_disk_ends_is_found() -> None:
    said = np.zeros((1 << 21) + 3, np.int64)
    begins = [0, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 1 << 21, (1 << 21) + 2]
    said[begins] = 1
    assert document_starts(np.cumsum(said), len(said)).tolist() == begins
