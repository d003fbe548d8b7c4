"""Finds where the rows of a text end, also where quoted cells contain line ends."""

import codecs

import numpy as np

_LINE_FEED, _RETURN = 10, 13


def find_row_ends(text: bytes, delimiter: str, quoted: bool) -> np.ndarray:
    r"""Return the position after the line end of every row, int64, rising.

    A last row without a line end has none. With `quoted`, cells may be in quotation marks (RFC
    4180), within which a line end does not end the row.

    >>> find_row_ends(b'a,"b\n"\nc,d', ",", quoted=True).tolist()
    [7]
    """
    data = np.frombuffer(text, np.uint8)
    if quoted and b'"' in text:
        from core.data.columns.kernels import scan_row_ends

        ends = np.empty(text.count(b"\n") + text.count(b"\r"), np.int64)
        # A quotation mark after a byte order mark starts a cell.
        mark = len(codecs.BOM_UTF8) if text.startswith(codecs.BOM_UTF8) else 0
        return ends[: scan_row_ends(data[mark:], ord(delimiter), ends)] + mark
    feeds = data == _LINE_FEED
    if b"\r" in text:
        # A carriage return and a line feed are one line end.
        returns = data == _RETURN
        returns[:-1] &= ~feeds[1:]
        feeds |= returns
    return np.flatnonzero(feeds) + 1


def find_blank_rows(text: bytes, ends: np.ndarray) -> np.ndarray:
    """Return the numbers, from 1, of rows that consist of a line end only.

    Args:
        text: the rows.
        ends: as `find_row_ends` returns them.
    """
    starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(ends)]
    data = np.frombuffer(text, np.uint8)
    lengths = ends - starts
    short = np.flatnonzero(lengths <= 2)
    blank = (lengths[short] == 1) | (np.isin(data[starts[short]], (_LINE_FEED, _RETURN)))
    return short[blank] + 1


def skip_rows(text: bytes, count: int, delimiter: str, quoted: bool) -> int:
    """Return where the row after the first `count` starts; the end of the text if there is none."""
    if not count:
        return 0
    ends = find_row_ends(text, delimiter, quoted)
    return int(ends[count - 1]) if len(ends) >= count else len(text)


def count_rows(text: bytes, ends: np.ndarray) -> int:
    """Return the number of rows, including a last one without a line end."""
    return len(ends) + bool(len(text) > (ends[-1] if len(ends) else 0))
