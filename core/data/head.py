"""The beginning of a text file: its rows, the delimiter between their cells, and whether the first names columns."""

import csv
import re
from collections import Counter
from collections.abc import Sequence

from core.data.columns import LABEL_NAMES, recognise
from core.data.containers import describe_unreadable
from core.data.options import ReadOptions
from core.data.other_datasets import recognise_other
from core.data.schema import FIELDS, NUMERIC
from core.data.values import is_missing, is_number
from core.errors import BadInput

HEAD_BYTES = 2**20
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars", " ": "spaces"}
FEW_COLUMNS = len(FIELDS) // 2
"""Fewer words than this are prose rather than a header, unless it is that of a dataset we know."""
_FEW_LINES = 20
_LONGEST_NAME = 64
_OLD_HEADER = {"I1", "C1", "label", "Label"}
_COUNTING = re.compile(r"(.*?)(\d+)")


def head_lines(head: bytes, name: str) -> tuple[list[str], int]:
    """(lines that are not blank, how many blank ones come before the first of them)."""
    if not head:
        raise BadInput(f"{name!r} holds an empty file; it needs rows of 39 or 40 columns.")
    if described := describe_unreadable(head):
        raise BadInput(f"{name!r} {described}.")
    if b"\x00" in head:
        place = head.index(b"\x00")
        raise BadInput(f"{name!r} holds a NUL byte at byte {place + 1:,}: it is binary or in UTF-16, not rows of text.")
    lines = head.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if len(head) >= HEAD_BYTES:
        if len(lines) == 1:
            raise BadInput(f"The first line of {name!r} is longer than {HEAD_BYTES:,} bytes: these are no Criteo rows.")
        lines = lines[:-1]
    try:
        texts = [line.decode() for line in lines if line]
    except UnicodeDecodeError as error:
        raise BadInput(_not_utf8(name, error.object[error.start])) from error
    if not texts:
        raise BadInput(f"{name!r} holds only blank lines; it needs rows of 39 or 40 columns.")
    return texts, lines.index(texts[0].encode())


def _not_utf8(name: str, byte: int) -> str:
    return (
        f"{name!r} is not text in UTF-8 (byte {byte:#04x}): it seems to be in a Windows or Latin encoding such as "
        "cp1252. Save it as UTF-8, for instance with: iconv -f cp1252 -t utf-8 FILE > NEW"
    )


def find_delimiter(lines: Sequence[str]) -> tuple[str, bool]:
    """(the delimiter that cuts most rows into the same, largest number of cells, whether cells are quoted)."""
    best, most = ("\t", False), 1
    for delimiter in DELIMITERS:
        few = lines[:_FEW_LINES]
        # Criteo's own files have no quotation marks: there one is a letter like any other.
        quoted = delimiter != "\t" or sum(_in_quotes(line, delimiter) for line in few) > len(few) / 2
        few = split_rows(few, quoted)
        widths = Counter(len(split_cells(line, delimiter, quoted)) for line in few)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        if count >= len(few) / 2 and width > most:
            best, most = (delimiter, quoted), width
    return best


def split_rows(lines: Sequence[str], quoted: bool) -> list[str]:
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


def _in_quotes(line: str, delimiter: str) -> bool:
    return f'"{delimiter}"' in line or f'"{delimiter}' in line or f'{delimiter}"' in line


def split_cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    """The cells of a line; one cell where quotation marks cannot be made sense of."""
    if not quoted:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return [line]


def common_width(table: Sequence[Sequence[str]]) -> int:
    """The most frequent number of cells; of equally frequent ones that of the earliest row."""
    return Counter(len(row) for row in table).most_common(1)[0][0]


def counting_header(cells: Sequence[str]) -> tuple[bool, int] | None:
    """(whether there is a label, place of the first of our columns) where a line only numbers Criteo's columns.

    So do pandas (0 to 39, perhaps after the row numbers' empty name), Spark (_c0), polars (column_1) and R (V1).
    """
    first = 1 if cells and re.fullmatch(r"|Unnamed: 0", cells[0]) else 0
    numbered = [_COUNTING.fullmatch(cell) for cell in cells[first:]]
    if len(numbered) not in (len(FIELDS), len(FIELDS) + 1) or not all(numbered):
        return None
    prefixes = {match[1] for match in numbered if match}
    numbers = [int(match[2]) for match in numbered if match]
    if len(prefixes) > 1 or numbers[0] not in (0, 1) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    return len(numbered) == len(FIELDS) + 1, first


def is_header(cells: Sequence[str], options: ReadOptions) -> bool:
    """Whether a line names columns: ours, those of a mapping, or all of its cells are different words."""
    named = {source for source in (options.columns or {}).values() if isinstance(source, str)}
    if set(cells) & (_OLD_HEADER | named) or len(recognise(cells)) >= len(NUMERIC):
        return True
    words = [cell for cell in cells if cell]
    if len(words) < len(cells) - 1 or len(set(words)) < len(words):
        return False
    if len(words) < FEW_COLUMNS:
        return bool(recognise_other(words))
    if any(cell.lower() in LABEL_NAMES for cell in words):
        return True
    return not any(is_number(cell) or is_missing(cell) or len(cell) > _LONGEST_NAME for cell in words)
