"""Which dialect a file is in, from its first bytes; said with the reason, never guessed silently."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.containers import PARQUET, container_of, open_rows
from core.data.schema import FIELDS, LABEL
from core.errors import BadInput

HEAD_BYTES = 2**20
MAX_COLUMNS = 1000
_C20 = 1 + FIELDS.index("C20")
_ONE_TB_DISTINCT = 20
_ENOUGH_ROWS = 50


@dataclass(frozen=True)
class Inspection:
    """A file's form. columns: our names in file order, None for one to be ignored. reason: why this dialect.

    header_row: number of the line that names the columns, from 1; 0 where none does.
    """

    dialect: str
    reason: str
    container: str
    delimiter: str
    columns: tuple[str | None, ...]
    header_row: int
    bytes: int
    id_column: str = ""
    labels_optional: bool = False

    @property
    def labelled(self) -> bool:
        """Whether there is a label column."""
        return LABEL in self.columns


def inspect(path: Path) -> Inspection:
    """Reads the beginning of the file; BadInput when it is no form of Criteo rows."""
    container = container_of(path)
    size = path.stat().st_size
    if container == PARQUET:
        columns = _match(_parquet_names(path), path.name)
        reason = "It begins with Parquet's mark PAR1."
        return Inspection("parquet", reason, container, "", columns, 0, size, _id_of(columns))
    with open_rows(path) as stream:
        head = b""
        while len(head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(head))):
            head += block
    lines, blank = _head_lines(head, path.name)
    first = lines[0]
    delimiter = "\t" if "\t" in first else ","
    names = _names(first, delimiter)
    if {name.strip() for name in names} & {"I1", "C1", "label", "Label"}:
        columns = _match(names, path.name)
        reason = f"The first line names columns, separated by {'tabs' if delimiter == chr(9) else 'commas'}."
        return Inspection("csv", reason, container, delimiter, columns, blank + 1, size, _id_of(columns))
    width = len(first.split("\t"))
    if width == len(FIELDS):
        reason = "39 tab-separated columns and no header: rows without a label."
        return Inspection("kaggle-test", reason, container, "\t", FIELDS, 0, size)
    if width == len(FIELDS) + 1:
        dialect, reason = _forty_columns(lines)
        return Inspection(dialect, reason, container, "\t", (LABEL, *FIELDS), 0, size)
    raise BadInput(
        f"Row 1 of {path.name!r} has {width} tab-separated columns ({first[:60]!r}); Criteo rows have 40 (label, I1 to "
        "I13, C1 to C26) or 39 without the label; a CSV needs a header line that names them."
    )


def _names(line: str, delimiter: str) -> list[str]:
    """The cells of a line, were it a header; none where it cannot be one."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _head_lines(head: bytes, name: str) -> tuple[list[str], int]:
    """(lines that are not blank, how many blank ones come before the first of them)."""
    if not head:
        raise BadInput(f"{name!r} holds an empty file; it needs rows of 39 or 40 columns.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(f"{name!r} is in UTF-16; save it as UTF-8.")
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
        raise BadInput(
            f"{name!r} is not text in UTF-8 ({error.reason}, byte {error.object[error.start]:#04x})."
        ) from error
    if not texts:
        raise BadInput(f"{name!r} holds only blank lines; it needs rows of 39 or 40 columns.")
    return texts, lines.index(texts[0].encode())


def _forty_columns(lines: list[str]) -> tuple[str, str]:
    """Kaggle's and the 1TB files have the same columns; C20 has 4 values in Kaggle's and millions in the 1TB's."""
    values = [fields[_C20] for fields in (line.split("\t") for line in lines) if len(fields) > _C20 and fields[_C20]]
    distinct = len(set(values))
    if len(values) < _ENOUGH_ROWS:
        return "kaggle-train", (
            f"40 tab-separated columns and no header. With only {len(values)} values of C20 to look at, Kaggle's "
            "train.txt and a 1TB day file look alike; taken as Kaggle's. Rows are read the same way."
        )
    if distinct > _ONE_TB_DISTINCT:
        return "criteo-1tb", (
            f"40 tab-separated columns and no header, and C20 has {distinct} values in {len(values):,} rows, where "
            "Kaggle's train.txt has 4."
        )
    return "kaggle-train", (
        f"40 tab-separated columns and no header, and C20 has {distinct} values in {len(values):,} rows, as Kaggle has."
    )


def _match(names: list[str], file: str) -> tuple[str | None, ...]:
    if len(names) > MAX_COLUMNS:
        raise BadInput(f"The header of {file!r} names {len(names):,} columns; at most {MAX_COLUMNS:,} are read.")
    ours = {name: name for name in FIELDS} | {"label": LABEL, "Label": LABEL}
    ours |= {name.strip(): name.strip() for name in names if name.strip().lower() == "id"}
    columns = tuple(ours.get(name.strip().lstrip("\ufeff")) for name in names)
    for column in (LABEL, *FIELDS):
        if columns.count(column) > 1:
            raise BadInput(f"The header of {file!r} names the column {column} {columns.count(column)} times.")
    missing = [field for field in FIELDS if field not in columns]
    if missing:
        raise BadInput(f"The header of {file!r} lacks the columns {', '.join(missing[:8])}; it names {names[:8]}.")
    return columns


def _id_of(columns: tuple[str | None, ...]) -> str:
    return next((name for name in columns if name and name.lower() == "id"), "")


def _parquet_names(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path, memory_map=True).names)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path.name!r} begins like Parquet but cannot be read ({error}); write it again.") from error
