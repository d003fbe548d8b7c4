"""Numba kernels over bytes and rows: tokenizing, hashing, counting and gathering.

They are compiled once per machine and cached on disk. Import this module only where a kernel runs,
because importing numba is slow.

Keep every kernel and all its helpers in this one file: numba's cache only notices changes of the
file that holds the kernel, so a helper in another file could go stale.

No kernel checks bounds. Callers must pass positions and indices that lie within their arrays.
Positions are uint64 where they index bytes, because numba adds a sign check to every signed index.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

LOW_BITS = np.uint64(0x0101010101010101)
"""The lowest bit of each of the eight bytes of a word."""
HIGH_BITS = np.uint64(0x8080808080808080)
"""The highest bit of each byte."""

_FIRST_CELL_BYTE = 14
"""Bytes below this end a cell: line ends, the tab, and control characters that no cell contains."""
_LONG_TAG = np.uint64(1)
"""Lowest byte of the word for a cell longer than eight bytes; no cell starts with this byte."""
_ONE, _EIGHT = np.uint64(1), np.uint64(8)
_LINE_FEED, _CARRIAGE_RETURN, _QUOTE = 10, 13, 34

F = TypeVar("F", bound=Callable[..., object])


def cached_njit(function: F) -> F:
    """Compile `function` with numba; it then runs without the GIL.

    Without a writable folder for the cache, each process compiles it again.
    """
    try:
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        # numba found no writable cache folder.
        return cast(F, numba.njit(nogil=True)(function))


def as_uint64_view(data: np.ndarray) -> np.ndarray:
    """Return overlapping uint64 views of `data`, one starting at every byte.

    Args:
        data: uint8, shape ``(n_bytes,)``.

    Returns:
        uint64, shape ``(max(0, n_bytes - 7),)``, sharing memory with `data`.
    """
    return np.ndarray((max(0, len(data) - 7),), np.uint64, data, strides=(1,))


@cached_njit
def count_nonzero_bytes(word: np.uint64) -> np.int64:
    """Return how many of the eight bytes of `word` are not 0, without a loop."""
    filled = (((word & ~HIGH_BITS) + ~HIGH_BITS) | word) & HIGH_BITS
    return np.int64(((filled >> np.uint64(7)) * LOW_BITS) >> np.uint64(56))


@cached_njit
def add_masked_counts(indices: np.ndarray, mask: np.ndarray, counts: np.ndarray) -> None:
    """Add to `counts` (int64) how often each index occurs in the rows where `mask` is true."""
    for row in range(len(indices)):
        counts[indices[row]] += mask[row]


@cached_njit
def gather_values(
    indices: np.ndarray, offsets: np.ndarray, values: np.ndarray, out: np.ndarray
) -> None:
    """Fill ``out[row, field]`` with ``values[offsets[field] + indices[field, row]]``."""
    for row in range(out.shape[0]):
        for field in range(out.shape[1]):
            out[row, field] = values[offsets[field] + indices[field, row]]


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
    position: np.uint64,
    size: np.uint64,
    delimiter: int,
    slots: np.ndarray,
    factor: np.uint64,
    cells: np.ndarray,
    starts: np.ndarray,
) -> tuple[int, np.uint64]:
    """Split text into cells, each stored as one 64-bit word.

    A cell of up to eight bytes is its own word: its bytes, first byte lowest, padded with zeros. A
    longer cell becomes a hash tagged with `_LONG_TAG`. The end of a cell is found eight bytes at a
    time (Lamport 1975, "Multiple byte processing with full-word instructions").

    Args:
        data: the text, uint8, padded with at least eight zero bytes.
        words: `as_uint64_view` of `data`.
        position: where to start.
        size: bytes of text in `data`, without the padding.
        delimiter: the byte between cells.
        slots: for every column the row of `cells` to write to, or -1 to skip the column.
        factor: multiplier of the hash, odd.
        cells: output, uint64, shape ``(n_slots, max_rows)``.
        starts: output, int32, same shape: position of the cell, set only for long cells.

    Returns:
        (number of rows, position after them). The number is -1 where the text needs the slow
        path, for instance at a row of another width.
    """
    low = LOW_BITS * np.uint64(_FIRST_CELL_BYTE)
    delimiters = LOW_BITS * np.uint64(delimiter)
    last, n_rows = len(slots) - 1, 0
    while position < size and n_rows < cells.shape[1]:
        for column in range(len(slots)):
            start, word = position, words[position]
            # The high bit is set in every byte of `hit` that ends a cell.
            hit = (word - low) & ~word & HIGH_BITS
            if delimiter >= _FIRST_CELL_BYTE:
                other = word ^ delimiters
                hit |= (other - LOW_BITS) & ~other & HIGH_BITS
            # Branch-free code exists but is slower: the processor predicts this branch and starts
            # on the next cell early.
            if hit != 0:
                # All bytes before the first hit: these are the cell.
                mask = ((hit & (~hit + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)
                word &= mask
                position += ((mask & LOW_BITS) * LOW_BITS) >> np.uint64(56)
            else:
                position += _EIGHT
                if not _ends_cell(data[position], delimiter):
                    while not _ends_cell(data[position], delimiter):
                        word = (word ^ np.uint64(data[position])) * factor
                        position += _ONE
                    word = (word << np.uint64(8)) | _LONG_TAG
            slot = slots[column]
            if slot >= 0:
                cells[slot, n_rows] = word
                if _is_long(word):
                    starts[slot, n_rows] = start
            end = data[position]
            position += _ONE
            if column < last:
                if end != delimiter:
                    return -1, position
            elif end == _CARRIAGE_RETURN:
                position += np.uint64(data[position] == _LINE_FEED)
            elif end != _LINE_FEED:
                return -1, position
        n_rows += 1
    return n_rows, position


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
    indices: np.ndarray,
    offsets: np.ndarray,
) -> tuple[int, int]:
    """Dictionary-encode one column of `tokenize_rows`: distinct cells in order of appearance.

    Args:
        data: the text.
        delimiter: the byte between cells.
        words: the column's words, uint64, shape ``(n_rows,)``.
        starts: the positions of its long cells.
        table: scratch hash table, int16, its length a power of two.
        keys: output, the word of each distinct cell.
        firsts: output, where each distinct cell first occurs, for long cells.
        factor: multiplier of the hash, odd.
        indices: output, int16, shape ``(n_rows,)``: index of each row's cell.
        offsets: output, where each distinct cell starts once they are laid end to end.

    Returns:
        (number of distinct cells, index of the empty cell or -1).
    """
    count, total, missing = 0, 0, -1
    table[:] = -1
    for row in range(len(indices)):
        word = words[row]
        slot = np.int64((word * factor) >> np.uint64(48))
        while True:
            index = table[slot]
            if index < 0:
                table[slot], indices[row] = count, count
                keys[count], firsts[count] = word, starts[row]
                offsets[count] = total
                if not _is_long(word):
                    total += int(count_nonzero_bytes(word))
                else:
                    total += _long_cell_length(data, starts[row], delimiter)
                if word == 0:
                    missing = count
                count += 1
                break
            if keys[index] == word and (
                not _is_long(word) or _long_cells_equal(data, firsts[index], starts[row], delimiter)
            ):
                indices[row] = index
                break
            slot = (slot + 1) & (len(table) - 1)
    offsets[count] = total
    return count, missing


@cached_njit
def _long_cell_length(data: np.ndarray, start: int, delimiter: int) -> int:
    position = start
    while not _ends_cell(data[position], delimiter):
        position += 1
    return position - start


@cached_njit
def _long_cells_equal(data: np.ndarray, first: int, second: int, delimiter: int) -> bool:
    while not _ends_cell(data[first], delimiter) and data[first] == data[second]:
        first += 1
        second += 1
    return _ends_cell(data[first], delimiter) and _ends_cell(data[second], delimiter)


@cached_njit
def gather_bytes(
    data: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    offsets: np.ndarray,
    out: np.ndarray,
    words_out: np.ndarray,
) -> None:
    """Write the distinct cells that `encode_column` found to `out`, end to end.

    Args:
        data: the text.
        words: the word of each cell.
        starts: where each long cell starts in `data`.
        offsets: where each cell starts in `out`, shape ``(n_cells + 1,)``.
        out: output, uint8, with eight spare bytes at the end.
        words_out: `as_uint64_view` of `out`, so that a short cell is written at once.
    """
    for cell in range(len(offsets) - 1):
        start, word = offsets[cell], words[cell]
        if not _is_long(word):
            words_out[start] = word
        else:
            for i in range(offsets[cell + 1] - start):
                out[start + i] = data[starts[cell] + i]


@cached_njit
def unquote(data: np.ndarray, size: int, delimiter: int, out: np.ndarray) -> int:
    """Copy text to `out` without the quotation marks that enclose cells.

    Returns:
        Bytes written, or -1 where a quotation mark does anything but enclose a cell.
    """
    position = written = 0
    while position < size:
        quoted = data[position] == _QUOTE
        position += quoted
        while not _ends_cell(data[position], delimiter) and data[position] != _QUOTE:
            out[written] = data[position]
            written += 1
            position += 1
        if (data[position] == _QUOTE) != quoted:
            return -1
        position += quoted
        if not _ends_cell(data[position], delimiter):
            return -1
        out[written] = data[position]
        written += 1
        position += 1
    return written


@cached_njit
def pack_strings(
    data: np.ndarray, words: np.ndarray, offsets: np.ndarray, keys: np.ndarray
) -> bool:
    """Pack Arrow strings into uint64 keys: their bytes, first byte lowest, padded with zeros.

    Args:
        data: the bytes of all strings, uint8.
        words: `as_uint64_view` of `data`.
        offsets: where each string starts, shape ``(n_strings + 1,)``.
        keys: output, uint64, shape ``(n_strings,)``.

    Returns:
        False if a string is longer than eight bytes or contains a NUL byte: it has no key.
    """
    for i in range(len(keys)):
        start, size = np.int64(offsets[i]), np.int64(offsets[i + 1] - offsets[i])
        if size < 0 or size > 8 or start < 0 or start + size > len(data):
            return False
        key = np.uint64(0)
        if size == 8:
            key = words[start]
        elif start < len(words):
            key = words[start] & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
        else:
            for byte in range(size):
                key |= np.uint64(data[start + byte]) << np.uint64(8 * byte)
        if count_nonzero_bytes(key) != size:
            return False
        keys[i] = key
    return True


@cached_njit
def _find_slot(key: np.uint64, table: np.ndarray, keys: np.ndarray, factor: np.uint64) -> np.int64:
    """Return the slot of `table` that holds the index of `key`, or the free slot for it."""
    # Use the highest bits of the product: the lowest bits of the product with a small key are 0.
    mask, half = len(table) - 1, np.uint64(32)
    slot = np.int64((((key * factor) >> half) * np.uint64(len(table))) >> half)
    while table[slot] >= 0 and keys[table[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@cached_njit
def fill_hash_table(keys: np.ndarray, table: np.ndarray, factor: np.uint64) -> None:
    """Insert the index of each key into `table`, an open-addressing hash table with -1 for free."""
    for i in range(len(keys)):
        table[_find_slot(keys[i], table, keys, factor)] = i


@cached_njit
def add_key_counts(
    keys: np.ndarray,
    counts: np.ndarray,
    table: np.ndarray,
    known_keys: np.ndarray,
    totals: np.ndarray,
    count: int,
    factor: np.uint64,
) -> int:
    """Add `counts` to the totals of `keys`; a key that is not known yet is appended.

    Args:
        keys: uint64, distinct.
        counts: int64, same shape; a key whose count is 0 is ignored.
        table: hash table over `known_keys`, changed in place.
        known_keys: changed in place; its first `count` entries are in use.
        totals: changed in place, same shape as `known_keys`.
        count: number of known keys before.
        factor: multiplier of the hash.

    Returns:
        Number of known keys afterwards.
    """
    for i in range(len(keys)):
        if counts[i] > 0:
            slot = _find_slot(keys[i], table, known_keys, factor)
            if table[slot] < 0:
                table[slot], known_keys[count] = count, keys[i]
                count += 1
            totals[table[slot]] += counts[i]
    return count


@cached_njit
def look_up_keys(
    keys: np.ndarray, table: np.ndarray, known_keys: np.ndarray, factor: np.uint64, out: np.ndarray
) -> None:
    """Fill `out` with the index of each key among `known_keys`, -1 where it is not among them."""
    for i in range(len(keys)):
        out[i] = table[_find_slot(keys[i], table, known_keys, factor)]


@cached_njit
def scan_row_ends(data: np.ndarray, delimiter: int, ends: np.ndarray) -> int:
    """Find where rows end, ignoring line ends within quotation marks.

    A quotation mark opens a quoted cell only at the start of a cell (RFC 4180); two of them
    within it stand for one.

    Args:
        data: the text, uint8.
        delimiter: the byte between cells.
        ends: output, int64: the position after each row's line end.

    Returns:
        Number of rows found.
    """
    count, position, size = 0, 0, len(data)
    at_cell_start = True
    while position < size:
        byte = data[position]
        position += 1
        if at_cell_start and byte == _QUOTE:
            while position < size:
                if data[position] == _QUOTE:
                    if position + 1 < size and data[position + 1] == _QUOTE:
                        position += 1
                    else:
                        break
                position += 1
            position += 1
            at_cell_start = False
        elif byte == _LINE_FEED or byte == _CARRIAGE_RETURN:  # noqa: SIM109
            if byte == _CARRIAGE_RETURN and position < size and data[position] == _LINE_FEED:
                position += 1
            if position <= size:
                ends[count] = position
                count += 1
            at_cell_start = True
        else:
            at_cell_start = byte == delimiter
    return count


@cached_njit
def count_fold_keys(
    first: np.ndarray,
    second: np.ndarray,
    second_size: int,
    labels: np.ndarray,
    folds: np.ndarray,
    keys: np.ndarray,
    clicks: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Count clicks and rows of each pair of ids, by fold.

    Args:
        first, second: ids of each row, int32, shape ``(n_rows,)``.
        second_size: number of ids of the second field.
        labels: 0.0 or 1.0, float32, same shape.
        folds: 0 to n_folds - 1, int8, same shape.
        keys: output, int32, same shape: the slot of each row's pair. A pair has a slot of its own
            where all pairs have room; else it is hashed, and two pairs may share one.
        clicks, rows: float32, shape ``(n_slots, n_folds + 1)``, n_slots a power of two; added to,
            the last column over all folds.
    """
    n_slots, total = np.uint64(len(clicks)), clicks.shape[1] - 1
    hashed = False
    for row in range(len(first)):
        if np.uint64(first[row]) * np.uint64(second_size) + np.uint64(second[row]) >= n_slots:
            hashed = True
    for row in range(len(first)):
        key = np.uint64(first[row]) * np.uint64(second_size) + np.uint64(second[row])
        if hashed:
            # Fibonacci hashing (Knuth, volume 3, 6.4).
            key = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & (n_slots - _ONE)
        slot, fold = np.int64(key), folds[row]
        keys[row] = slot
        clicks[slot, fold] += labels[row]
        rows[slot, fold] += 1
        clicks[slot, total] += labels[row]
        rows[slot, total] += 1


@cached_njit
def fill_out_of_fold_logits(
    keys: np.ndarray,
    folds: np.ndarray,
    clicks: np.ndarray,
    rows: np.ndarray,
    prior_clicks: float,
    prior_rows: float,
    out: np.ndarray,
) -> None:
    """Fill `out` with each row's log-odds of clicks over the other folds; empty the counts.

    Args:
        keys, clicks, rows: of `count_fold_keys`; afterwards `clicks` and `rows` are 0 again.
        folds: int8, shape ``(n_rows,)``.
        prior_clicks, prior_rows: added to the clicks and rows of every pair.
        out: float64, shape ``(n_rows,)``.
    """
    total = clicks.shape[1] - 1
    for row in range(len(keys)):
        slot, fold = keys[row], folds[row]
        row_clicks = clicks[slot, total] - clicks[slot, fold] + prior_clicks
        row_count = rows[slot, total] - rows[slot, fold] + prior_rows
        out[row] = np.log(row_clicks / (row_count - row_clicks))
    for row in range(len(keys)):
        clicks[keys[row]] = 0
        rows[keys[row]] = 0
