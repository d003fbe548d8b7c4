"""Cuts a block of text into cells and codes every column: each distinct cell once, a 16-bit place
for every row.

A cell of up to eight bytes, as nearly all of Criteo's are, is one 64-bit word: its end is found in
that word at once (Lamport 1975, "Multiple byte processing with full-word instructions") and words
are compared, not texts. What a cell means is for others to say; it is asked once a distinct cell,
not once a row.
"""

import codecs
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from core.data.columns.dictionary_file import BATCH_ROWS
from core.data.columns.kernels import (
    as_uint64_view,
    encode_column,
    gather_bytes,
    tokenize_rows,
    unquote,
)
from core.data.columns.vocabulary_index import HASH_MULTIPLIER
from core.data.reading.parse import NeedsSlowPath

_TABLE_SIZE = 2**16
_PADDING = 8
"""Bytes behind the text, so that the last cell is read as a word too."""


class _Scratch(threading.local):
    """A thread's working memory: fresh memory for every block would cost more than the work."""

    def __init__(self) -> None:
        self.text = np.empty(0, np.uint8)
        self.words = np.empty((0, BATCH_ROWS), np.uint64)
        self.starts = np.empty((0, BATCH_ROWS), np.int32)
        self.table = np.empty(_TABLE_SIZE, np.int16)
        self.keys = np.empty(BATCH_ROWS, np.uint64)
        self.firsts = np.empty(BATCH_ROWS, np.int32)
        self.offsets = np.empty(BATCH_ROWS + 1, np.int32)

    def join(self, pieces: Sequence[bytes | memoryview]) -> np.ndarray:
        """The pieces end to end, with an end of the last line, then _PAD times 0."""
        size = sum(len(piece) for piece in pieces)
        if len(self.text) < size + 1 + _PADDING:
            self.text = np.empty(size + 1 + _PADDING, np.uint8)
        place = 0
        for piece in pieces:
            self.text[place : place + len(piece)] = (
                np.frombuffer(piece, np.uint8) if len(piece) else ()
            )
            place += len(piece)
        if place and self.text[place - 1] not in (10, 13):
            self.text[place] = 10
            place += 1
        self.text[place : place + _PADDING] = 0
        return self.text[: place + _PADDING]

    def reserve_columns(self, count: int) -> None:
        if len(self.words) < count:
            self.words = np.empty((count, BATCH_ROWS), np.uint64)
            self.starts = np.empty((count, BATCH_ROWS), np.int32)


_scratch = _Scratch()


def tokenize(
    pieces: Sequence[bytes | memoryview], delimiter: str, wanted: list[bool], quoted: bool
) -> Iterator[list[pa.DictionaryArray]]:
    """The wanted columns of whole lines, at most BATCH_ROWS rows at a time: places int16, distinct
    cells as string.

    pieces: the text, cut anywhere. wanted: for every column whether it is coded. quoted: whether a
    cell may stand in quotation marks. Cells come in order of appearance, an empty one as null; that
    they are UTF-8 is not checked. Raises UnusualText at a row of another width, a blank line, a
    byte order mark, a control character, or a quotation mark that does more than enclose a cell.
    """
    data = _scratch.join(pieces)
    if bytes(data[:3]) == codecs.BOM_UTF8:
        raise NeedsSlowPath
    if quoted and (data == 34).any():
        unquoted = np.zeros(len(data), np.uint8)
        size = unquote(data, len(data) - _PADDING, ord(delimiter), unquoted)
        if size < 0:
            raise NeedsSlowPath
        data = unquoted[: size + _PADDING]
    slots = np.where(wanted, np.cumsum(wanted) - 1, -1)
    _scratch.reserve_columns(sum(wanted))
    words = as_uint64_view(data)
    place, end = np.uint64(0), np.uint64(len(data) - _PADDING)
    while place < end:
        rows, place = tokenize_rows(
            data,
            words,
            place,
            end,
            ord(delimiter),
            slots,
            HASH_MULTIPLIER,
            _scratch.words,
            _scratch.starts,
        )
        if rows < 0:
            raise NeedsSlowPath
        yield [_encode_slot(data, ord(delimiter), slot, rows) for slot in range(sum(wanted))]


def _encode_slot(data: np.ndarray, delimiter: int, slot: int, rows: int) -> pa.DictionaryArray:
    codes, scratch = np.empty(rows, np.int16), _scratch
    words, starts = scratch.words[slot], scratch.starts[slot]
    count, missing = encode_column(
        data,
        delimiter,
        words,
        starts,
        scratch.table,
        scratch.keys,
        scratch.firsts,
        HASH_MULTIPLIER,
        codes,
        scratch.offsets,
    )
    offsets = scratch.offsets[: count + 1].copy()
    letters = np.empty(offsets[count] + 8, np.uint8)
    gather_bytes(data, scratch.keys, scratch.firsts, offsets, letters, as_uint64_view(letters))
    valid = None
    if missing >= 0:
        valid = pa.py_buffer(np.packbits(np.arange(count) != missing, bitorder="little"))
    distinct = pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets), pa.py_buffer(letters), valid
    )
    return pa.DictionaryArray.from_arrays(codes, distinct, safe=False)


# The compiled loops are loaded with the module, not in the middle of the first file.
list(tokenize([b"a\tb\n"], "\t", [True, True], False))
