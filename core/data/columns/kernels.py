"""Loops over bytes and rows, compiled by numba once a machine; imported only where they run, for
numba loads slowly.

All of them are in this file with all that they use: what numba has kept it takes for fresh while
this file is the same. Nothing here looks whether a place lies within its array; callers hand on
none that does not.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

LOW_BITS = np.uint64(0x0101010101010101)
HIGH_BITS = np.uint64(0x8080808080808080)

_FIRST_CELL_BYTE = 14
"""Bytes below it are line ends, the tab, or nothing that belongs into a cell."""
_LONG_TAG = np.uint64(1)
"""Lowest byte of the word of a cell longer than eight bytes; no cell begins with that byte."""
_ONE, _EIGHT = np.uint64(1), np.uint64(8)

F = TypeVar("F", bound=Callable[..., object])


def cached_njit(function: F) -> F:
    """`function` in machine code, which leaves Python's lock to other threads."""
    try:
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        # No folder to keep compiled code in: it is compiled anew in every process.
        return cast(F, numba.njit(nogil=True)(function))


def as_uint64_view(data: np.ndarray) -> np.ndarray:
    """Eight bytes from every byte on, as one number each: uint64 (bytes - 7,); none where there are
    fewer."""
    return np.ndarray((max(0, len(data) - 7),), np.uint64, data, strides=(1,))


@cached_njit
def count_nonzero_bytes(word: np.uint64) -> np.int64:
    """How many bytes of a word are not 0."""
    filled = (((word & ~HIGH_BITS) + ~HIGH_BITS) | word) & HIGH_BITS
    return np.int64(((filled >> np.uint64(7)) * LOW_BITS) >> np.uint64(56))


@cached_njit
def add_masked_counts(codes: np.ndarray, chosen: np.ndarray, counts: np.ndarray) -> None:
    """Adds to counts, int64, how often each code occurs in the chosen rows, bool (rows,)."""
    for row in range(len(codes)):
        counts[codes[row]] += chosen[row]


@cached_njit
def gather_values(
    codes: np.ndarray, begins: np.ndarray, found: np.ndarray, out: np.ndarray
) -> None:
    """out[row, field] = found[begins[field] + codes[field, row]], row after row."""
    for row in range(out.shape[0]):
        for field in range(out.shape[1]):
            out[row, field] = found[begins[field] + codes[field, row]]


@cached_njit
def _ends_cell(byte: int, delimiter: int) -> bool:
    return byte < _FIRST_CELL_BYTE or byte == delimiter


@cached_njit
def _is_long(word: np.uint64) -> bool:
    return word & np.uint64(255) == _LONG_TAG


@cached_njit
def tokenize_rows(
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
    """Fills cells (one word each) and starts, (slots, rows), from `place` on: (rows, the place
    after them).

    As many rows as fit; -1 rows where the text is unusual. A start is only told of a cell of more
    than eight bytes. Places have no sign, which would be looked at wherever one is an index.
    """
    low, delimiters, last, row = (
        LOW_BITS * np.uint64(_FIRST_CELL_BYTE),
        LOW_BITS * np.uint64(delimiter),
        len(slots) - 1,
        0,
    )
    while place < size and row < cells.shape[1]:
        for column in range(len(slots)):
            start, word = place, words[place]
            hit = (word - low) & ~word & HIGH_BITS
            if delimiter >= _FIRST_CELL_BYTE:
                other = word ^ delimiters
                hit |= (other - LOW_BITS) & ~other & HIGH_BITS
            # A branch, though it could do without: the processor guesses it and goes on where the
            # next cell begins.
            if hit != 0:
                before = ((hit & (~hit + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)
                word &= before
                place += ((before & LOW_BITS) * LOW_BITS) >> np.uint64(56)
            else:
                place += _EIGHT
                if not _ends_cell(data[place], delimiter):
                    while not _ends_cell(data[place], delimiter):
                        word = (word ^ np.uint64(data[place])) * factor
                        place += _ONE
                    word = (word << np.uint64(8)) | _LONG_TAG
            slot = slots[column]
            if slot >= 0:
                cells[slot, row] = word
                if _is_long(word):
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


@cached_njit
def encode_column(
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
    """Fills codes (rows,); per distinct cell its word, start and where it begins once they lie end
    to end.

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
                table[spot], keys[count], firsts[count], codes[row] = (
                    count,
                    word,
                    starts[row],
                    count,
                )
                offsets[count] = total
                if not _is_long(word):
                    total += int(count_nonzero_bytes(word))
                else:
                    total += _long_cell_length(data, starts[row], delimiter)
                if word == 0:
                    missing = count
                count += 1
                break
            if keys[code] == word and (
                not _is_long(word) or _long_cells_equal(data, firsts[code], starts[row], delimiter)
            ):
                codes[row] = code
                break
            spot = (spot + 1) & (len(table) - 1)
    offsets[count] = total
    return count, missing


@cached_njit
def _long_cell_length(data: np.ndarray, start: int, delimiter: int) -> int:
    place = start
    while not _ends_cell(data[place], delimiter):
        place += 1
    return place - start


@cached_njit
def _long_cells_equal(data: np.ndarray, one: int, other: int, delimiter: int) -> bool:
    while not _ends_cell(data[one], delimiter) and data[one] == data[other]:
        one += 1
        other += 1
    return _ends_cell(data[one], delimiter) and _ends_cell(data[other], delimiter)


@cached_njit
def gather_bytes(
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
        if not _is_long(word):
            wide[begin] = word
        else:
            for place in range(offsets[cell + 1] - begin):
                letters[begin + place] = data[starts[cell] + place]


@cached_njit
def unquote(data: np.ndarray, size: int, delimiter: int, out: np.ndarray) -> int:
    """Copies to `out` without the quotation marks around cells; returns how many bytes, -1 where
    one does more."""
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


@cached_njit
def pack_strings(data: np.ndarray, wide: np.ndarray, begins: np.ndarray, words: np.ndarray) -> bool:
    """Fills words with the texts that begin there in data, one after another; False where one is no
    word."""
    for place in range(len(words)):
        begin, size = np.int64(begins[place]), np.int64(begins[place + 1] - begins[place])
        if size < 0 or size > 8 or begin < 0 or begin + size > len(data):
            return False
        word = np.uint64(0)
        if size == 8:
            word = wide[begin]
        elif begin < len(wide):
            word = wide[begin] & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
        else:
            for letter in range(size):
                word |= np.uint64(data[begin + letter]) << np.uint64(8 * letter)
        if count_nonzero_bytes(word) != size:
            return False
        words[place] = word
    return True


@cached_njit
def _find_slot(
    word: np.uint64, table: np.ndarray, known: np.ndarray, factor: np.uint64
) -> np.int64:
    """Where in table, whose length is a power of two, the word's place stands or is to stand."""
    # By the product's highest bits: below them, that of a small number has nothing but noughts.
    mask, half = len(table) - 1, np.uint64(32)
    spot = np.int64((((word * factor) >> half) * np.uint64(len(table))) >> half)
    while table[spot] >= 0 and known[table[spot]] != word:
        spot = (spot + 1) & mask
    return spot


@cached_njit
def fill_hash_table(words: np.ndarray, table: np.ndarray, factor: np.uint64) -> None:
    """Fills table, which is free (-1) everywhere, with the words' places."""
    for place in range(len(words)):
        table[_find_slot(words[place], table, words, factor)] = place


@cached_njit
def add_key_counts(
    words: np.ndarray,
    counts: np.ndarray,
    table: np.ndarray,
    known: np.ndarray,
    totals: np.ndarray,
    count: int,
    factor: np.uint64,
) -> int:
    """Adds counts to the totals of known words, new ones behind the first `count`; returns how many
    there are then."""
    for place in range(len(words)):
        if counts[place] > 0:
            spot = _find_slot(words[place], table, known, factor)
            if table[spot] < 0:
                table[spot], known[count] = count, words[place]
                count += 1
            totals[table[spot]] += counts[place]
    return count


@cached_njit
def look_up_keys(
    words: np.ndarray, table: np.ndarray, known: np.ndarray, factor: np.uint64, found: np.ndarray
) -> None:
    """Fills found with the words' places among the known ones, -1 for nowhere."""
    for place in range(len(words)):
        found[place] = table[_find_slot(words[place], table, known, factor)]


@cached_njit
def scan_row_ends(data: np.ndarray, delimiter: int, ends: np.ndarray) -> int:
    """Fills ends with the place after every row's line end, outside quotation marks; returns how
    many there are.

    A quotation mark counts where a cell begins (RFC 4180); within a quoted cell two of them are
    one.
    """
    count, place, size = 0, 0, len(data)
    begins = True
    while place < size:
        byte = data[place]
        place += 1
        if begins and byte == 34:
            while place < size:
                if data[place] == 34:
                    if place + 1 < size and data[place + 1] == 34:
                        place += 1
                    else:
                        break
                place += 1
            place += 1
            begins = False
        elif byte == 10 or byte == 13:
            if byte == 13 and place < size and data[place] == 10:
                place += 1
            if place <= size:
                ends[count] = place
                count += 1
            begins = True
        else:
            begins = byte == delimiter
    return count
