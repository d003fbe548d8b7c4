"""Splits a block of text into dictionary-encoded columns: the fast path of reading text.

Cells are compared as 64-bit words (see `core.data.columns.kernels.tokenize_rows`). What a cell
means is decided later and only once per distinct cell, not once per row.
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
"""Bytes after the text, so that the last cell can be loaded as a word too."""


class _Scratch(threading.local):
    """Working memory of a thread; allocating it for every block would take longer than the work."""

    def __init__(self) -> None:
        self.text = np.empty(0, np.uint8)
        self.words = np.empty((0, BATCH_ROWS), np.uint64)
        self.starts = np.empty((0, BATCH_ROWS), np.int32)
        self.table = np.empty(_TABLE_SIZE, np.int16)
        self.keys = np.empty(BATCH_ROWS, np.uint64)
        self.firsts = np.empty(BATCH_ROWS, np.int32)
        self.offsets = np.empty(BATCH_ROWS + 1, np.int32)

    def join(self, pieces: Sequence[bytes | memoryview]) -> np.ndarray:
        """Return the pieces end to end, with a final line end and _PADDING zero bytes."""
        size = sum(len(piece) for piece in pieces)
        if len(self.text) < size + 1 + _PADDING:
            self.text = np.empty(size + 1 + _PADDING, np.uint8)
        position = 0
        for piece in pieces:
            self.text[position : position + len(piece)] = (
                np.frombuffer(piece, np.uint8) if len(piece) else ()
            )
            position += len(piece)
        if position and self.text[position - 1] not in (10, 13):
            self.text[position] = 10
            position += 1
        self.text[position : position + _PADDING] = 0
        return self.text[: position + _PADDING]

    def reserve_columns(self, count: int) -> None:
        """Make room for `count` columns."""
        if len(self.words) < count:
            self.words = np.empty((count, BATCH_ROWS), np.uint64)
            self.starts = np.empty((count, BATCH_ROWS), np.int32)


_scratch = _Scratch()


def tokenize(
    pieces: Sequence[bytes | memoryview], delimiter: str, wanted: list[bool], quoted: bool
) -> Iterator[list[pa.DictionaryArray]]:
    """Yield the wanted columns of whole lines, at most BATCH_ROWS rows at a time.

    Args:
        pieces: the text, cut at any position.
        delimiter: one character.
        wanted: for every column whether to return it.
        quoted: whether cells may be enclosed in quotation marks.

    Yields:
        For each wanted column an array with int16 indices and a dictionary of strings, in order
        of appearance, null for an empty cell. They are not checked to be UTF-8.

    Raises:
        NeedsSlowPath: at a row of another width, a blank line, a byte order mark, a control
            character, or a quotation mark that does not just enclose a cell.
    """
    data = _scratch.join(pieces)
    if bytes(data[:3]) == codecs.BOM_UTF8:
        raise NeedsSlowPath
    if quoted and (data == ord('"')).any():
        unquoted = np.zeros(len(data), np.uint8)
        size = unquote(data, len(data) - _PADDING, ord(delimiter), unquoted)
        if size < 0:
            raise NeedsSlowPath
        data = unquoted[: size + _PADDING]
    slots = np.where(wanted, np.cumsum(wanted) - 1, -1)
    _scratch.reserve_columns(sum(wanted))
    words = as_uint64_view(data)
    position, end = np.uint64(0), np.uint64(len(data) - _PADDING)
    while position < end:
        rows, position = tokenize_rows(
            data,
            words,
            position,
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
    indices, scratch = np.empty(rows, np.int16), _scratch
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
        indices,
        scratch.offsets,
    )
    offsets = scratch.offsets[: count + 1].copy()
    text = np.empty(offsets[count] + 8, np.uint8)
    gather_bytes(data, scratch.keys, scratch.firsts, offsets, text, as_uint64_view(text))
    valid = None
    if missing >= 0:
        valid = pa.py_buffer(np.packbits(np.arange(count) != missing, bitorder="little"))
    distinct = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text), valid)
    return pa.DictionaryArray.from_arrays(indices, distinct, safe=False)


# Load the compiled kernels on import, not while the first file is being read.
list(tokenize([b"a\tb\n"], "\t", [True, True], False))
