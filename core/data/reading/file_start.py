"""The first bytes of a text file: its rows, its delimiter, and whether a row names the columns."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Sequence

from core.data.archives.unreadable import describe_unreadable
from core.data.read_options import ReadOptions
from core.data.reading.column_names import LABEL_NAMES, find_label_columns, recognise_columns
from core.data.reading.other_datasets import recognise_other_dataset
from core.data.reading.values import is_missing, is_number, parse_label
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput

HEAD_BYTES = 2**20
"""Number of first bytes that decide about the format."""
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"} | {
    "\x01": "the control character 1, as Hive writes it",
    "^": "carets",
    "~": "tildes",
    " ": "spaces",
}
MIN_HEADER_COLUMNS = len(FIELDS) // 2
"""A line of fewer words is prose, not a header, unless it is the header of a known dataset."""
_DELIMITER_LINES = 20
"""Number of first lines in which the delimiter is searched."""
_MAX_NAME_LENGTH = 64
_HEADER_NAMES = {"I1", "C1", "label", "Label"}
"""A line with one of these cells is a header."""
_NUMBERED_NAME = re.compile(r"(.*?)(\d+)(?:\.0)?")
_MAX_GAPS = 3
"""Numbers that may be missing in a header that only numbers the columns."""
_MAX_PREAMBLE_ROWS = 10
"""Number of first rows in which the header is searched."""
_LIBSVM = re.compile(r"[-+]?\d+(\.\d+)?(\s+\d+:\S+){3,}")


def decode_lines(head: bytes, file: str) -> tuple[list[str], list[int]]:
    """Return (lines that are not blank, the number of each in the file, from 1).

    Raises:
        BadInput: the head is empty, binary, not UTF-8, or in another format.
    """
    if not head:
        raise BadInput(f"{file!r} holds an empty file; it needs rows of 39 or 40 columns.")
    if unreadable := describe_unreadable(head):
        raise BadInput(f"{file!r} {unreadable}.")
    if b"\x00" in head:
        position = head.index(b"\x00")
        raise BadInput(
            f"{file!r} holds a NUL byte at byte {position + 1:,}: it is binary or in UTF-16, not"
            " rows of text."
        )
    lines = (
        head.removeprefix(b"\xef\xbb\xbf")
        .replace(b"\r\n", b"\n")
        .replace(b"\r", b"\n")
        .split(b"\n")
    )
    if len(head) >= HEAD_BYTES:
        if len(lines) == 1:
            raise BadInput(
                f"The first line of {file!r} is longer than {HEAD_BYTES:,} bytes: these are not"
                " Criteo rows."
            )
        lines = lines[:-1]
    numbers = [number for number, line in enumerate(lines, 1) if line]
    try:
        texts = [lines[number - 1].decode() for number in numbers]
    except UnicodeDecodeError as error:
        raise BadInput(describe_not_utf8(file, error.object[error.start])) from error
    if not texts:
        raise BadInput(f"{file!r} holds only blank lines; it needs rows of 39 or 40 columns.")
    if _LIBSVM.match(texts[0]):
        raise BadInput(
            f"{file!r} is in the form of libsvm or libffm (index:value, {texts[0][:40]!r}): it has"
            " no columns; write the rows as text with 40 columns."
        )
    return texts, numbers


def describe_not_utf8(file: str, byte: int) -> str:
    """Return the message about a byte that is not UTF-8."""
    return (
        f"{file!r} is not text in UTF-8 (byte {byte:#04x}): it seems to be in a Windows or Latin"
        " encoding such as cp1252. Save it as UTF-8, for instance with: iconv -f cp1252 -t utf-8"
        " FILE > NEW"
    )


def find_delimiter(lines: Sequence[str]) -> tuple[str, bool]:
    """Return (the delimiter, whether cells are quoted).

    The delimiter splits most rows into the same number of cells: if possible into Criteo's 39 or
    40, or with a header that names them; else into as many as possible.
    """
    best, best_score = ("\t", False), (False, 1)
    for delimiter in DELIMITERS:
        first_lines = lines[:_DELIMITER_LINES]
        # Criteo's own files are not quoted: a quotation mark in them is an ordinary character.
        quoted = (
            delimiter != "\t"
            or sum(_has_quoted_cell(line, delimiter) for line in first_lines) > len(first_lines) / 2
        )
        table = [
            split_cells(line, delimiter, quoted) for line in join_quoted_lines(first_lines, quoted)
        ]
        widths = Counter(len(cells) for cells in table)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        if count < len(table) / 2:
            continue
        is_criteo = width in (len(FIELDS), len(FIELDS) + 1) or any(
            _names_fields(cells) for cells in table[:_MAX_PREAMBLE_ROWS]
        )
        if width > 1 and (is_criteo, width) > best_score:
            best, best_score = (delimiter, quoted), (is_criteo, width)
    return best


def _names_fields(cells: Sequence[str]) -> bool:
    try:
        return len(recognise_columns([cell.strip() for cell in cells])) >= len(NUMERIC)
    except BadInput:
        return True


def join_quoted_lines(lines: Sequence[str], quoted: bool) -> list[str]:
    """Join lines that a line break within quotation marks has split."""
    if not quoted:
        return list(lines)
    rows: list[str] = []
    is_open = False
    for line in lines:
        if is_open:
            rows[-1] += f"\n{line}"
        else:
            rows.append(line)
        is_open ^= line.count('"') % 2 == 1
    return rows


def count_file_rows(rows: Sequence[str], numbers: Sequence[int], count: int) -> int:
    """Return how many rows of the file the first `count` of `rows` are; blank lines count too.

    Args:
        rows: as `join_quoted_lines` returns them; a row may span several lines.
        numbers: the number of each line in the file, from 1.
        count: number of rows.
    """
    first = extra_lines = 0
    for row in rows[:count]:
        last = first + row.count("\n")
        extra_lines += numbers[last] - numbers[first]
        first = last + 1
    return numbers[first - 1] - extra_lines if count else 0


def _has_quoted_cell(line: str, delimiter: str) -> bool:
    """Return whether a cell of the line is enclosed in quotation marks."""
    edge = re.escape(delimiter)
    return bool(re.search(rf'(^|{edge})"[^"]*"({edge}|$)', line))


def split_cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    """Return the cells of a line; a single cell if its quotation marks make no sense."""
    if not quoted:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return [line]


def most_common_width(table: Sequence[Sequence[str]]) -> int:
    """Return the most frequent number of cells; if tied, that of the earliest row."""
    return Counter(len(row) for row in table).most_common(1)[0][0]


def find_header(table: Sequence[Sequence[str]], width: int, options: ReadOptions) -> int | None:
    """Return the position of the row that names or numbers the columns; None if there is none."""
    for position, row in enumerate(table[:_MAX_PREAMBLE_ROWS]):
        cells = [cell.strip() for cell in row]
        if abs(len(cells) - width) <= 1 and (
            is_header(cells, options) or is_numbered_header(cells)
        ):
            return position
        if len(cells) == width:
            return None
    return None


def count_preamble_rows(table: Sequence[Sequence[str]], width: int) -> int:
    """Return how many first rows are comments, blank, or Excel's delimiter line (``sep=;``)."""
    for position, row in enumerate(table[:_MAX_PREAMBLE_ROWS]):
        text = "".join(row).strip()
        if len(row) == width or (
            text and not text.startswith("#") and not text.lower().startswith("sep=")
        ):
            return position
    return 0


def is_numbered_header(cells: Sequence[str]) -> bool:
    """Return whether a line only numbers the columns, perhaps after an empty name for row numbers.

    pandas (0 to 39), Spark (_c0), polars (column_1), DuckDB (column00) and R (V1) write such
    headers. A few numbers may be missing.
    """
    matches = [_NUMBERED_NAME.fullmatch(cell) for cell in cells[_count_index_columns(cells) :]]
    if len(matches) < len(FIELDS) or not all(matches):
        return False
    prefixes = {match[1] for match in matches if match}
    numbers = [int(match[2]) for match in matches if match]
    rising = all(before < after for before, after in itertools.pairwise(numbers))
    return (
        len(prefixes) == 1
        and numbers[0] in (0, 1)
        and rising
        and numbers[-1] <= len(numbers) + _MAX_GAPS
    )


def numbered_layout(cells: Sequence[str]) -> tuple[bool, int] | None:
    """Return (whether there is a label, position of the first Criteo column) for a numbered header.

    None if the number of columns is not Criteo's.
    """
    first = _count_index_columns(cells)
    width = len(cells) - first
    return (width == len(FIELDS) + 1, first) if width in (len(FIELDS), len(FIELDS) + 1) else None


def _count_index_columns(cells: Sequence[str]) -> int:
    return 1 if cells and re.fullmatch(r"|Unnamed: 0|__index_level_0__", cells[0]) else 0


def align_names(cells: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the names of a header for rows of `width` cells.

    A name that is missing, or one that is too many, is at either end.
    """
    names = list(cells)
    if len(names) == width + 1 and not names[-1]:
        return names[:-1]
    if len(names) != width - 1:
        return names
    if rows and all(not row[-1].strip() for row in rows):
        return [*names, ""]
    labelled = find_label_columns(names) or not all(parse_label(row[0]) in (0, 1) for row in rows)
    # R writes no name for the column of row names. If that column holds labels, the missing name
    # is that of the label.
    return ["" if labelled else "column 1", *names]


def is_header(cells: Sequence[str], options: ReadOptions) -> bool:
    """Return whether a line names columns: Criteo's, those of a mapping, or distinct words only."""
    named = {source for source in (options.columns or {}).values() if isinstance(source, str)}
    if set(cells) & (_HEADER_NAMES | named) or _names_fields(cells):
        return True
    words = [cell for cell in cells if cell]
    if len(words) < len(cells) - 1 or len(set(words)) < len(words):
        return False
    if len(words) < MIN_HEADER_COLUMNS:
        return bool(recognise_other_dataset(words))
    if any(cell.lower() in LABEL_NAMES for cell in words):
        return True
    return not any(
        is_number(cell) or is_missing(cell) or len(cell) > _MAX_NAME_LENGTH for cell in words
    )
