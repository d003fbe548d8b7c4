"""The beginning of a text file: its rows, the delimiter between their cells, and whether the first
names columns."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Sequence

from core.data.archives.containers import describe_unreadable
from core.data.read_options import ReadOptions
from core.data.reading.column_names import LABEL_NAMES, find_label_columns, recognise_columns
from core.data.reading.other_datasets import recognise_other_dataset
from core.data.reading.values import is_missing, is_number, parse_label
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput

HEAD_BYTES = 2**20
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"} | {
    "\x01": "the control character 1, as Hive writes it",
    "^": "carets",
    "~": "tildes",
    " ": "spaces",
}
MIN_HEADER_COLUMNS = len(FIELDS) // 2
"""Fewer words than this are prose rather than a header, unless it is that of a dataset we know."""
_DELIMITER_LINES = 20
_MAX_NAME_LENGTH = 64
_HEADER_NAMES = {"I1", "C1", "label", "Label"}
_NUMBERED_NAME = re.compile(r"(.*?)(\d+)(?:\.0)?")
_MAX_GAPS = 3
_MAX_PREAMBLE_ROWS = 10
"""Rows at the beginning among which a header is looked for."""
_LIBSVM = re.compile(r"[-+]?\d+(\.\d+)?(\s+\d+:\S+){3,}")


def decode_lines(head: bytes, name: str) -> tuple[list[str], list[int]]:
    """(lines that are not blank, the number of each in the file, from 1)."""
    if not head:
        raise BadInput(f"{name!r} holds an empty file; it needs rows of 39 or 40 columns.")
    if described := describe_unreadable(head):
        raise BadInput(f"{name!r} {described}.")
    if b"\x00" in head:
        place = head.index(b"\x00")
        raise BadInput(
            f"{name!r} holds a NUL byte at byte {place + 1:,}: it is binary or in UTF-16, not rows"
            " of text."
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
                f"The first line of {name!r} is longer than {HEAD_BYTES:,} bytes: these are no"
                " Criteo rows."
            )
        lines = lines[:-1]
    numbers = [number for number, line in enumerate(lines, 1) if line]
    try:
        texts = [lines[number - 1].decode() for number in numbers]
    except UnicodeDecodeError as error:
        raise BadInput(describe_not_utf8(name, error.object[error.start])) from error
    if not texts:
        raise BadInput(f"{name!r} holds only blank lines; it needs rows of 39 or 40 columns.")
    if _LIBSVM.match(texts[0]):
        raise BadInput(
            f"{name!r} is in the form of libsvm or libffm (index:value, {texts[0][:40]!r}): it has"
            " no columns; write the rows as text with 40 columns."
        )
    return texts, numbers


def describe_not_utf8(name: str, byte: int) -> str:
    """The sentence for a byte that is no UTF-8."""
    return (
        f"{name!r} is not text in UTF-8 (byte {byte:#04x}): it seems to be in a Windows or Latin"
        " encoding such as cp1252. Save it as UTF-8, for instance with: iconv -f cp1252 -t utf-8"
        " FILE > NEW"
    )


def find_delimiter(lines: Sequence[str]) -> tuple[str, bool]:
    """(the delimiter, whether cells are quoted).

    It cuts most rows into the same number of cells: into Criteo's 39 or 40, or with a header that
    names them, else into the largest number.
    """
    best, most = ("\t", False), (False, 1)
    for delimiter in DELIMITERS:
        few = lines[:_DELIMITER_LINES]
        # Criteo's own files have no quotation marks: there one is a letter like any other.
        quoted = (
            delimiter != "\t"
            or sum(_has_quoted_cell(line, delimiter) for line in few) > len(few) / 2
        )
        table = [split_cells(line, delimiter, quoted) for line in join_quoted_lines(few, quoted)]
        widths = Counter(len(cells) for cells in table)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        if count < len(table) / 2:
            continue
        fits = width in (len(FIELDS), len(FIELDS) + 1) or any(
            _names_fields(cells) for cells in table[:_MAX_PREAMBLE_ROWS]
        )
        if width > 1 and (fits, width) > most:
            best, most = (delimiter, quoted), (fits, width)
    return best


def _names_fields(cells: Sequence[str]) -> bool:
    try:
        return len(recognise_columns([cell.strip() for cell in cells])) >= len(NUMERIC)
    except BadInput:
        return True


def join_quoted_lines(lines: Sequence[str], quoted: bool) -> list[str]:
    """The lines, those joined that a line break within quotation marks has parted."""
    if not quoted:
        return list(lines)
    rows: list[str] = []
    within = False
    for line in lines:
        if within:
            rows[-1] += f"\n{line}"
        else:
            rows.append(line)
        within ^= line.count('"') % 2 == 1
    return rows


def count_file_rows(rows: Sequence[str], numbers: Sequence[int], count: int) -> int:
    """How many rows of the file the first `count` of `rows` are, the blank lines between them
    counted as rows.

    rows: as `join_quoted_lines` made them; numbers: of their lines in the file, from 1. A row over several
    lines is one.
    """
    first = within = 0
    for row in rows[:count]:
        last = first + row.count("\n")
        within += numbers[last] - numbers[first]
        first = last + 1
    return numbers[first - 1] - within if count else 0


def _has_quoted_cell(line: str, delimiter: str) -> bool:
    """Whether a cell of the line stands between quotation marks."""
    edge = re.escape(delimiter)
    return bool(re.search(rf'(^|{edge})"[^"]*"({edge}|$)', line))


def split_cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    """The cells of a line; one cell where quotation marks cannot be made sense of."""
    if not quoted:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return [line]


def most_common_width(table: Sequence[Sequence[str]]) -> int:
    """The most frequent number of cells; of equally frequent ones that of the earliest row."""
    return Counter(len(row) for row in table).most_common(1)[0][0]


def find_header(table: Sequence[Sequence[str]], width: int, options: ReadOptions) -> int | None:
    """Place of the row that names or numbers the columns, among the first that are not rows; None
    where none does."""
    for place, row in enumerate(table[:_MAX_PREAMBLE_ROWS]):
        cells = [cell.strip() for cell in row]
        if abs(len(cells) - width) <= 1 and (
            is_header(cells, options) or is_numbered_header(cells)
        ):
            return place
        if len(cells) == width:
            return None
    return None


def count_preamble_rows(table: Sequence[Sequence[str]], width: int) -> int:
    """How many rows at the beginning are comments, blank, or the delimiter that Excel writes
    (sep=;)."""
    for place, row in enumerate(table[:_MAX_PREAMBLE_ROWS]):
        text = "".join(row).strip()
        if len(row) == width or (
            text and not text.startswith("#") and not text.lower().startswith("sep=")
        ):
            return place
    return 0


def is_numbered_header(cells: Sequence[str]) -> bool:
    """Whether a line only numbers columns, perhaps behind an empty name of row numbers, with a few
    numbers left out.

    So do pandas (0 to 39), Spark (_c0), polars (column_1), DuckDB (column00) and R (V1).
    """
    numbered = [_NUMBERED_NAME.fullmatch(cell) for cell in cells[_count_index_columns(cells) :]]
    if len(numbered) < len(FIELDS) or not all(numbered):
        return False
    prefixes = {match[1] for match in numbered if match}
    numbers = [int(match[2]) for match in numbered if match]
    rising = all(before < after for before, after in itertools.pairwise(numbers))
    return (
        len(prefixes) == 1
        and numbers[0] in (0, 1)
        and rising
        and numbers[-1] <= len(numbers) + _MAX_GAPS
    )


def numbered_layout(cells: Sequence[str]) -> tuple[bool, int] | None:
    """(whether there is a label, place of the first of our columns) of a line that counts Criteo's
    39 or 40 columns."""
    first = _count_index_columns(cells)
    width = len(cells) - first
    return (width == len(FIELDS) + 1, first) if width in (len(FIELDS), len(FIELDS) + 1) else None


def _count_index_columns(cells: Sequence[str]) -> int:
    return 1 if cells and re.fullmatch(r"|Unnamed: 0|__index_level_0__", cells[0]) else 0


def align_names(cells: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The header's names for rows of `width` cells: one that is missing, or one too many, stands at
    either end."""
    names = list(cells)
    if len(names) == width + 1 and not names[-1]:
        return names[:-1]
    if len(names) != width - 1:
        return names
    if rows and all(not row[-1].strip() for row in rows):
        return [*names, ""]
    labelled = find_label_columns(names) or not all(parse_label(row[0]) in (0, 1) for row in rows)
    # R leaves out the name of the rows' own names; where that column holds labels, it is the
    # label's that is missing.
    return ["" if labelled else "column 1", *names]


def is_header(cells: Sequence[str], options: ReadOptions) -> bool:
    """Whether a line names columns: ours, those of a mapping, or all of its cells are different
    words."""
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
