"""Cuts a block of text into cells and codes every column: each distinct cell once, a 16-bit place for every row.

Compiled with numba. A cell of up to eight bytes, as nearly all of Criteo's are, is one 64-bit word: its end is found in
that word at once (Lamport 1975, "Multiple byte processing with full-word instructions") and words are compared, not
texts. What a cell means is for others to say; it is asked once a distinct cell, not once a row.
"""

import codecs
import secrets
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from core.data.compiled import HIGH, ONES, compiled, eights, length
from core.data.parse import UnusualText
from core.data.rowsfile import BATCH_ROWS

_CONTROL = 14
"""Bytes below it are line ends, the tab, or nothing that belongs into a cell."""
_LONG = np.uint64(1)
"""Lowest byte of the word of a cell longer than eight bytes; no cell begins with that byte."""
_ONE, _EIGHT = np.uint64(1), np.uint64(8)
_PLACES = 2**16
_PAD = 8
"""Bytes behind the text, so that the last cell is read as a word too."""


class _Scratch(threading.local):
    """A thread's working memory: fresh memory for every block would cost more than the work."""

    def __init__(self) -> None:
        self.text = np.empty(0, np.uint8)
        self.words = np.empty((0, BATCH_ROWS), np.uint64)
        self.starts = np.empty((0, BATCH_ROWS), np.int32)
        self.table = np.empty(_PLACES, np.int16)
        self.keys = np.empty(BATCH_ROWS, np.uint64)
        self.firsts = np.empty(BATCH_ROWS, np.int32)
        self.offsets = np.empty(BATCH_ROWS + 1, np.int32)

    def joined(self, pieces: Sequence[bytes | memoryview]) -> np.ndarray:
        """The pieces end to end, with an end of the last line, then _PAD times 0."""
        size = sum(len(piece) for piece in pieces)
        if len(self.text) < size + 1 + _PAD:
            self.text = np.empty(size + 1 + _PAD, np.uint8)
        place = 0
        for piece in pieces:
            self.text[place : place + len(piece)] = np.frombuffer(piece, np.uint8) if len(piece) else ()
            place += len(piece)
        if place and self.text[place - 1] not in (10, 13):
            self.text[place] = 10
            place += 1
        self.text[place : place + _PAD] = 0
        return self.text[: place + _PAD]

    def for_columns(self, count: int) -> None:
        if len(self.words) < count:
            self.words = np.empty((count, BATCH_ROWS), np.uint64)
            self.starts = np.empty((count, BATCH_ROWS), np.int32)


_scratch = _Scratch()
_FACTOR = np.uint64(secrets.randbits(64) | 1)
"""Of the hash; random, so that nobody can write a file whose cells all meet in one place."""


def code_cells(
    pieces: Sequence[bytes | memoryview], delimiter: str, wanted: list[bool], quoted: bool
) -> Iterator[list[pa.DictionaryArray]]:
    """The wanted columns of whole lines, at most BATCH_ROWS rows at a time: places int16, distinct cells as string.

    pieces: the text, cut anywhere. wanted: for every column whether it is coded. quoted: whether a cell may stand in
    quotation marks. Cells come in order of appearance, an empty one as null; that they are UTF-8 is not checked. Raises
    UnusualText at a row of another width, a blank line, a byte order mark, a control character, or a quotation mark
    that does more than enclose a cell.
    """
    data = _scratch.joined(pieces)
    if bytes(data[:3]) == codecs.BOM_UTF8:
        raise UnusualText
    if quoted and (data == 34).any():
        unquoted = np.zeros(len(data), np.uint8)
        size = _unquote(data, len(data) - _PAD, ord(delimiter), unquoted)
        if size < 0:
            raise UnusualText
        data = unquoted[: size + _PAD]
    slots = np.where(wanted, np.cumsum(wanted) - 1, -1)
    _scratch.for_columns(sum(wanted))
    words = eights(data)
    place, end = np.uint64(0), np.uint64(len(data) - _PAD)
    while place < end:
        rows, place = _cut(data, words, place, end, ord(delimiter), slots, _FACTOR, _scratch.words, _scratch.starts)
        if rows < 0:
            raise UnusualText
        yield [_coded(data, ord(delimiter), slot, rows) for slot in range(sum(wanted))]


def _coded(data: np.ndarray, delimiter: int, slot: int, rows: int) -> pa.DictionaryArray:
    codes, scratch = np.empty(rows, np.int16), _scratch
    words, starts = scratch.words[slot], scratch.starts[slot]
    count, missing = _code(
        data, delimiter, words, starts, scratch.table, scratch.keys, scratch.firsts, _FACTOR, codes, scratch.offsets
    )
    offsets = scratch.offsets[: count + 1].copy()
    letters = np.empty(offsets[count] + 8, np.uint8)
    _spell(data, scratch.keys, scratch.firsts, offsets, letters, eights(letters))
    valid = None
    if missing >= 0:
        valid = pa.py_buffer(np.packbits(np.arange(count) != missing, bitorder="little"))
    distinct = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(letters), valid)
    return pa.DictionaryArray.from_arrays(codes, distinct, safe=False)


@compiled
def _ends_cell(byte: int, delimiter: int) -> bool:
    return byte < _CONTROL or byte == delimiter


@compiled
def _cut(
    data: np.ndarray,
    words: np.ndarray,
    place: np.uint64,
    size: np.uint64,
    delimiter: int,
    slots: np.ndarray,
    factor: np.uint64,
    cells: np.ndarray,
    starts: np.ndarray,
) -> tuple[int, np.uint64]:
    """Fills cells (one word each) and starts, (slots, rows), from `place` on: (rows, the place after them).

    As many rows as fit; -1 rows where the text is unusual. A start is only told of a cell of more than eight bytes.
    Places have no sign, which would be looked at wherever one is an index.
    """
    low, delimiters, last, row = ONES * np.uint64(_CONTROL), ONES * np.uint64(delimiter), len(slots) - 1, 0
    while place < size and row < cells.shape[1]:
        for column in range(len(slots)):
            start, word = place, words[place]
            hit = (word - low) & ~word & HIGH
            if delimiter >= _CONTROL:
                other = word ^ delimiters
                hit |= (other - ONES) & ~other & HIGH
            # A branch, though it could do without: the processor guesses it and goes on where the next cell begins.
            if hit != 0:
                before = ((hit & (~hit + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)
                word &= before
                place += ((before & ONES) * ONES) >> np.uint64(56)
            else:
                place += _EIGHT
                if not _ends_cell(data[place], delimiter):
                    while not _ends_cell(data[place], delimiter):
                        word = (word ^ np.uint64(data[place])) * factor
                        place += _ONE
                    word = (word << np.uint64(8)) | _LONG
            slot = slots[column]
            if slot >= 0:
                cells[slot, row] = word
                if word & np.uint64(255) == _LONG:
                    starts[slot, row] = start
            end = data[place]
            place += _ONE
            if column < last:
                if end != delimiter:
                    return -1, place
            elif end == 13:
                place += np.uint64(data[place] == 10)
            elif end != 10:
                return -1, place
        row += 1
    return row, place


@compiled
def _code(
    data: np.ndarray,
    delimiter: int,
    words: np.ndarray,
    starts: np.ndarray,
    table: np.ndarray,
    keys: np.ndarray,
    firsts: np.ndarray,
    factor: np.uint64,
    codes: np.ndarray,
    offsets: np.ndarray,
) -> tuple[int, int]:
    """Fills codes (rows,); per distinct cell its word, start and where it begins once they lie end to end.

    Returns how many there are and which of them is empty, or -1.
    """
    count, total, missing = 0, 0, -1
    table[:] = -1
    for row in range(len(codes)):
        word = words[row]
        spot = np.int64((word * factor) >> np.uint64(48))
        while True:
            code = table[spot]
            if code < 0:
                table[spot], keys[count], firsts[count], codes[row] = count, word, starts[row], count
                offsets[count] = total
                if word & np.uint64(255) != _LONG:
                    total += int(length(word))
                else:
                    total += _length_of_long(data, starts[row], delimiter)
                if word == 0:
                    missing = count
                count += 1
                break
            if keys[code] == word and (
                word & np.uint64(255) != _LONG or _same(data, firsts[code], starts[row], delimiter)
            ):
                codes[row] = code
                break
            spot = (spot + 1) % _PLACES
    offsets[count] = total
    return count, missing


@compiled
def _length_of_long(data: np.ndarray, start: int, delimiter: int) -> int:
    place = start
    while not _ends_cell(data[place], delimiter):
        place += 1
    return place - start


@compiled
def _same(data: np.ndarray, one: int, other: int, delimiter: int) -> bool:
    while not _ends_cell(data[one], delimiter) and data[one] == data[other]:
        one += 1
        other += 1
    return _ends_cell(data[one], delimiter) and _ends_cell(data[other], delimiter)


@compiled
def _spell(
    data: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    offsets: np.ndarray,
    letters: np.ndarray,
    wide: np.ndarray,
) -> None:
    """Writes the cells of these words to letters, end to end."""
    for cell in range(len(offsets) - 1):
        begin, word = offsets[cell], words[cell]
        if word & np.uint64(255) != _LONG:
            wide[begin] = word
        else:
            for place in range(offsets[cell + 1] - begin):
                letters[begin + place] = data[starts[cell] + place]


@compiled
def _unquote(data: np.ndarray, size: int, delimiter: int, out: np.ndarray) -> int:
    """Copies to `out` without the quotation marks around cells; returns how many bytes, -1 where one does more."""
    place = written = 0
    while place < size:
        quoted = data[place] == 34
        place += quoted
        while not _ends_cell(data[place], delimiter) and data[place] != 34:
            out[written] = data[place]
            written += 1
            place += 1
        if (data[place] == 34) != quoted:
            return -1
        place += quoted
        if not _ends_cell(data[place], delimiter):
            return -1
        out[written] = data[place]
        written += 1
        place += 1
    return written


# The compiled loops are loaded with the module, not in the middle of the first file.
list(code_cells([b"a\tb\n"], "\t", [True, True], False))
