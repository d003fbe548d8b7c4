"""Scores a file of Criteo rows with the model in this folder. Neither Thaw nor torch is needed.

    pip install numpy pyarrow onnxruntime
    python score.py rows.tsv scores.csv [--on-bad-rows skip] [--no-calibration]

rows.tsv: text with the columns label, I1 to I13, C1 to C26 (or without the label), separated by
tabs, commas, semicolons or vertical bars, in this order or under a header that names them, perhaps
with an id; or Parquet with these columns. Plain, or packed with gzip, bzip2, xz, zstd or zip.
Labels are not used and may be empty, ? or -1. scores.csv: row (the row's number in the file; a
header is line 1), the id if there is one, score (the probability of a click), predicted_click (1
where the score reaches the threshold). It is written whole or not at all. run.json says whether the
probabilities are calibrated; --no-calibration writes those as trained.

A bad row, such as one with letters in I1, is named and nothing is written; --on-bad-rows skip
leaves bad rows out and counts them. Exit status 0; 2 with one sentence when the file cannot be
scored or the output cannot be written, 1 when the output's disk is full.
"""

import argparse
import bz2
import csv
import errno
import gzip
import json
import lzma
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

FOLDER = Path(__file__).resolve().parent
NUMERIC = [f"I{number}" for number in range(1, 14)]
CATEGORICAL = [f"C{number}" for number in range(1, 27)]
FIELDS = NUMERIC + CATEGORICAL
LABEL, ID = "label", "id"
ROW, SCORE, CLICK = "row", "score", "predicted_click"
MISSING, UNSEEN, FIRST = (
    0,
    1,
    2,
)  # ids of a missing value, of an unknown one, and of the first known one
LEAST_KNOWN = 20  # rows with a known value to be expected of a column before it is called unknown

# Spelled and judged as Thaw itself does when it reads a file.
MARKERS = [
    "",
    "-",
    "?",
    "nan",
    "-nan",
    "+nan",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "null",
    "(null)",
    "nil",
    "none",
    "nat",
    "\\n",
]
LABELS = r"^([+-]?[01](\.0*)?|true|t|yes|false|f|no)$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
LABEL_NAMES = {
    "label",
    "labels",
    "click",
    "clicks",
    "clicked",
    "isclick",
    "isclicked",
    "target",
    "y",
    "clk",
}
ID_NAMES = {
    "id",
    "rowid",
    "uuid",
    "uid",
    "impressionid",
    "requestid",
    "eventid",
    "displayid",
    "sampleid",
    "recordid",
}
NUMERIC_NAMES = {
    "i",
    "int",
    "integer",
    "intfeature",
    "integerfeature",
    "num",
    "numeric",
    "dense",
    "densefeature",
}
CATEGORY_NAMES = {
    "c",
    "cat",
    "category",
    "categorical",
    "catfeature",
    "categoricalfeature",
    "sparse",
    "sparsefeature",
}
DELIMITERS = "\t,;|"
BLOCK_BYTES = 4 * 2**20
LONGEST_ROW = 7 * 2**20
LONGEST_VALUE = 4096
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)


PRIOR_ROWS = 10.0  # rows at the base rate, added to those of every key of a target statistic

Faults = dict[int, str]  # what is wrong with a row, by its number


class Refused(Exception):
    """Why the file cannot be scored, in a sentence. status: the exit status."""

    status = 2


class DiskFull(Refused):
    """That there is no space for the output."""

    status = 1


@dataclass
class BadRows:
    """Faults found in rows: the first one stops the reading, or they are skipped and counted.

    Attributes:
        notes: remarks on the whole file.
    """

    skip: bool
    count: int = 0
    first: str = ""
    notes: list[str] = field(default_factory=list)

    def settle(self, faults: Faults) -> None:
        """Takes the faults of some rows, a sentence by row number."""
        if faults and not self.skip:
            raise Refused(
                f"{faults[min(faults)]} Fix the row, or skip bad rows with --on-bad-rows skip."
            )
        if faults and not self.first:
            self.first = faults[min(faults)]
        self.count += len(faults)


@dataclass(frozen=True)
class Form:
    """How the text of a file is to be read.

    Attributes:
        names: our name of every column; None where the column is not used.
        id_name: the file's name of the column ID.
    """

    delimiter: str
    quoted: bool
    names: list[str | None]
    header: bool
    id_name: str


def read_rows(path: Path, bad: BadRows) -> Iterator[tuple[pa.Table, np.ndarray, str]]:
    """Yield (good rows, row numbers, the file's name of the id column), some thousands at a time.

    Row numbers count the rows of the file from 1. Columns: I1 to I13 float64, C1 to C26 string,
    "id" string where `id_name` is not "". Missing values are null.
    """
    if not path.is_file():
        raise Refused(f"There is no file {str(path)!r}; check the path.")
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise Refused(
            f"The file {str(path)!r} cannot be read ({reason_of(error)}); check its permissions."
        ) from error
    tables = parquet_tables(path) if start == b"PAR1" else text_tables(path, bad)
    for table, numbers, faults, id_name in tables:
        rows, kept = typed(table, numbers, path.name, faults)
        # Faults of all kinds together, so that the first row is named.
        bad.settle(faults)
        if rows.num_rows:
            yield rows, kept, id_name


def reason_of(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def open_stream(path: Path, stack: ExitStack) -> Any:
    """The file's bytes, unpacked."""
    raw = stack.enter_context(path.open("rb"))
    start = raw.read(6)
    raw.seek(0)
    stream: Any = raw
    if start[:2] == b"\x1f\x8b":
        stream = stack.enter_context(gzip.GzipFile(fileobj=raw))
    elif start[:3] == b"BZh":
        stream = stack.enter_context(bz2.BZ2File(raw))
    elif start == b"\xfd7zXZ\x00":
        stream = stack.enter_context(lzma.open(raw))  # noqa: SIM115
    elif start[:4] == b"\x28\xb5\x2f\xfd":
        stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    elif start[:4] == b"PK\x03\x04":
        archive = stack.enter_context(zipfile.ZipFile(raw))
        members = [
            one
            for one in archive.namelist()
            if not one.endswith("/") and not one.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            raise Refused(
                f"{path.name!r} holds {len(members)} files; unpack it and name one of them."
            )
        stream = stack.enter_context(archive.open(members[0]))
    return stream


def blocks(path: Path, bad: BadRows) -> Iterator[bytes]:
    """Whole lines of the unpacked file, some megabytes at a time."""
    rest = b""
    with ExitStack() as stack:
        try:
            stream = open_stream(path, stack)
            read = getattr(stream, "read1", stream.read)
            while piece := read(BLOCK_BYTES):
                rest += piece
                if len(rest) < BLOCK_BYTES:
                    continue
                # A line end that is the last byte may be the half of one of two bytes.
                cut = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, -1)) + 1
                if not cut and len(rest) > LONGEST_ROW:
                    raise Refused(
                        f"{path.name!r} has a row longer than {LONGEST_ROW:,} bytes: these are no"
                        " Criteo rows."
                    )
                yield rest[:cut]
                rest = rest[cut:]
        except DAMAGE as error:
            if not (isinstance(error, EOFError) and bad.skip):
                raise Refused(
                    f"{path.name!r} is damaged or truncated ({error}); fetch it again."
                ) from error
            rest = rest[: max(rest.rfind(b"\n"), rest.rfind(b"\r")) + 1]
            bad.notes.append("The file is truncated: the rows before the break were scored.")
        yield rest


def text_tables(path: Path, bad: BadRows) -> Iterator[tuple[pa.Table, np.ndarray, Faults, str]]:
    """Yield (text, row numbers, faults, the file's name of the id column) of a text file by blocks.

    The columns of text have our names.
    """
    form, seen = None, 0
    for block in blocks(path, bad):
        if b"\0" in block or block[257:262] == b"ustar":
            what = (
                "is a tar archive: unpack it first"
                if block[257:262] == b"ustar"
                else "holds a NUL byte: it is binary"
            )
            raise Refused(f"{path.name!r} {what}.")
        if not seen and block.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Refused(f"{path.name!r} is in UTF-16; save it as UTF-8.")
        lines = (block if seen else block.removeprefix(b"\xef\xbb\xbf")).splitlines()
        numbered = [(number, line) for number, line in enumerate(lines, seen + 1) if line]
        seen += len(lines)
        if form is None and numbered:
            form = find_form(
                [decoded(line, number, path.name) for number, line in numbered[:200]], path.name
            )
            numbered = numbered[1:] if form.header else numbered
        if form is not None and numbered:
            yield (*parse_lines(numbered, form, path.name), form.id_name)


def decoded(line: bytes, number: int, name: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            f"{name!r} is not text in UTF-8 at row {number:,}; save it as UTF-8."
        ) from error


def parse_lines(
    numbered: list[tuple[int, bytes]], form: Form, name: str
) -> tuple[pa.Table, np.ndarray, Faults]:
    """Return (columns of text, row numbers, faults) of numbered lines.

    Lines with another number of columns than the format are faults.
    """
    faults: Faults = {}
    good, delimiter = [], form.delimiter.encode()
    for number, line in numbered:
        if form.quoted and b'"' in line:
            width = len(cells(decoded(line, number, name), form.delimiter, True))
        else:
            width = line.count(delimiter) + 1
        if width == len(form.names):
            good.append((number, line))
        else:
            faults[number] = (
                f"Row {number:,} of {name!r} has {width} columns instead of {len(form.names)}."
            )
    places = [str(place) for place in range(len(form.names))]
    used = [place for place, ours in enumerate(form.names) if ours]
    if not good:
        none = pa.table({str(form.names[place]): pa.array([], pa.string()) for place in used})
        return none, np.empty(0, np.int64), faults
    try:
        table = pcsv.read_csv(
            pa.BufferReader(b"\n".join(line for _, line in good) + b"\n"),
            read_options=pcsv.ReadOptions(column_names=places, block_size=2**30, use_threads=False),
            parse_options=pcsv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.quoted else False,
                ignore_empty_lines=False,
            ),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()),
                include_columns=[places[place] for place in used],
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        first = f"rows {good[0][0]:,} to {good[-1][0]:,}"
        raise Refused(
            f"{name!r} cannot be read in {first}: {str(error).splitlines()[0][:200]}"
        ) from error
    table = table.rename_columns([str(form.names[place]) for place in used])
    return table, np.array([number for number, _ in good]), faults


def parquet_tables(path: Path) -> Iterator[tuple[pa.Table, np.ndarray, Faults, str]]:
    """The same of a Parquet file, whose rows are numbered from 1."""
    try:
        with pq.ParquetFile(path) as file:
            theirs = file.schema_arrow.names
            names, id_name = match_names(theirs, path.name)
            wanted, seen = [place for place, ours in enumerate(names) if ours], 0
            for batch in file.iter_batches(65536, columns=[theirs[place] for place in wanted]):
                columns = {
                    str(names[place]): as_text(batch[theirs[place]], str(names[place]))
                    for place in wanted
                }
                yield pa.table(columns), np.arange(seen + 1, seen + 1 + batch.num_rows), {}, id_name
                seen += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise Refused(
            f"{path.name!r} cannot be read as Parquet ({error}); write it again."
        ) from error


def as_text(column: pa.Array, ours: str) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type) and ours in CATEGORICAL:
        # pandas turns whole numbers with missing ones into floats.
        whole = pc.if_else(pc.is_nan(column), None, column)
        column = (
            whole.cast(pa.int64())
            if pc.all(pc.equal(pc.round(whole), whole)).as_py() is not False
            else column
        )
    return column.cast(pa.string())


def find_form(lines: Sequence[str], name: str) -> Form:
    """The form of text that begins with these lines, none of them blank."""
    delimiter, quoted, width = "\t", False, 1
    for one in DELIMITERS:
        # Criteo's own files have no quotation marks: there one is a letter like any other.
        marks = (
            one != "\t"
            or sum(f'"{one}' in line or f'{one}"' in line for line in lines[:20])
            > len(lines[:20]) / 2
        )
        found, count = Counter(len(cells(line, one, marks)) for line in lines[:20]).most_common(1)[
            0
        ]
        if found > width and count >= len(lines[:20]) / 2:
            delimiter, quoted, width = one, marks, found
    first = [cell.strip() for cell in cells(lines[0], delimiter, quoted)]
    plain = [re.sub(r"[^a-z0-9]+", "", cell.lower()) for cell in first]
    if (order := counted(first)) is not None:
        return Form(delimiter, True, order, True, "")
    numbered = [re.fullmatch(r"([a-z]+)\d{1,2}", cell) for cell in plain]
    if sum(bool(one and one[1] in NUMERIC_NAMES | CATEGORY_NAMES) for one in numbered) >= len(
        NUMERIC
    ):
        names, id_name = match_names(["", *first] if len(first) == width - 1 else first, name)
        return Form(delimiter, True, names, True, id_name)
    if width not in (len(FIELDS), len(FIELDS) + 1):
        raise Refused(
            f"Row 1 of {name!r} has {width} columns ({lines[0][:60]!r}); Criteo rows have 40"
            " (label, I1 to I13, C1 to C26) or 39 without the label, or a header that names them."
        )
    if width > len(FIELDS) and all(
        cells(line, delimiter, quoted)[-1].strip() in ("0", "1") for line in lines
    ):
        raise Refused(
            f"The label of {name!r} seems to stand at the end; write the columns as label, I1 to"
            " I13, C1 to C26."
        )
    return Form(delimiter, quoted, [*([LABEL] if width > len(FIELDS) else []), *FIELDS], False, "")


def cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    try:
        return (
            next(csv.reader([line], delimiter=delimiter), []) if quoted else line.split(delimiter)
        )
    except csv.Error:
        return [line]


def counted(first: Sequence[str]) -> list[str | None] | None:
    """Return the columns in Criteo's order if the header only numbers them, else None.

    An example of such a header is pandas' 0 to 39.
    """
    index = 1 if first and first[0] in ("", "Unnamed: 0") else 0
    found = [re.fullmatch(r"(.*?)(\d+)", cell) for cell in first[index:]]
    if len(found) not in (len(FIELDS), len(FIELDS) + 1) or not all(found):
        return None
    numbers = [int(one[2]) for one in found if one]
    same = len({one[1] for one in found if one}) == 1
    if (
        not same
        or numbers[0] not in (0, 1)
        or numbers != list(range(numbers[0], numbers[0] + len(numbers)))
    ):
        return None
    return [*[None] * index, *([LABEL] if len(found) > len(FIELDS) else []), *FIELDS]


def match_names(theirs: Sequence[str], file: str) -> tuple[list[str | None], str]:
    """(our name of every column of a header, the file's name of the id, "" for none)."""
    theirs = [name.strip().lstrip("\ufeff").strip() for name in theirs]
    plain = [re.sub(r"[^a-z0-9]+", "", name.lower()) for name in theirs]
    ours: list[str | None] = [None] * len(theirs)
    for fields, prefixes, starts in (
        (NUMERIC, NUMERIC_NAMES, (1, 0)),
        (CATEGORICAL, CATEGORY_NAMES, (1, 0, 14, 13)),
    ):
        for place, field_name in matched(plain, fields, prefixes, starts).items():
            if ours[place] is None:
                ours[place] = field_name
    labels = [place for place, name in enumerate(plain) if name in LABEL_NAMES]
    if exact := [place for place in labels if plain[place] == LABEL] or labels:
        ours[exact[0]] = LABEL
    identifier = next(
        (place for place, name in enumerate(plain) if name in ID_NAMES and ours[place] is None),
        None,
    )
    if identifier is not None:
        ours[identifier] = ID
    if twice := [name for name in (LABEL, *FIELDS) if theirs.count(name) > 1]:
        raise Refused(
            f"The header of {file!r} names the column {twice[0]} {theirs.count(twice[0])} times."
        )
    if missing := [name for name in FIELDS if name not in ours]:
        raise Refused(
            f"The header of {file!r} lacks the columns {', '.join(missing[:8])}; it names"
            f" {list(theirs[:8])}."
        )
    return ours, "" if identifier is None else theirs[identifier]


def matched(
    plain: Sequence[str], fields: Sequence[str], prefixes: set[str], starts: Sequence[int]
) -> dict[int, str]:
    """Place of each field among names that are one of the prefixes and consecutive numbers."""
    places: dict[str, dict[int, int]] = {}
    for place, name in enumerate(plain):
        if (parts := re.fullmatch(r"([a-z]+)(\d{1,3})", name)) and parts[1] in prefixes:
            places.setdefault(parts[1], {}).setdefault(int(parts[2]), place)
    for start in starts:
        for found in places.values():
            if set(found) == set(range(start, start + len(fields))):
                return {found[start + number]: name for number, name in enumerate(fields)}
    return {plain.index(name.lower()): name for name in fields if name.lower() in plain}


def typed(
    table: pa.Table, numbers: np.ndarray, file: str, faults: Faults
) -> tuple[pa.Table, np.ndarray]:
    """Return the good rows with typed columns, and their row numbers; add the others to `faults`.

    Numbers become float64 and missing-value markers become nulls.
    """
    keep, columns = np.ones(table.num_rows, bool), {}
    for name in [LABEL, *FIELDS, ID]:
        if name not in table.column_names:
            continue
        coded = table[name].combine_chunks().dictionary_encode()
        coded = coded if isinstance(coded, pa.DictionaryArray) else pa.concat_arrays(coded.chunks)
        values, good, why = judged(coded.dictionary, name)
        columns[name] = values.take(coded.indices)
        for place in np.flatnonzero(
            ~good.take(coded.indices).fill_null(True).to_numpy(zero_copy_only=False) & keep
        ):
            text = table[name][int(place)].as_py()
            shown = repr(text if len(text) <= 60 else text[:57] + "...")
            faults[int(numbers[place])] = (
                f"Row {numbers[place]:,} of {file!r}: {name} is {shown}, {why}."
            )
            keep[place] = False
    return pa.table(columns).filter(pa.array(keep)), numbers[keep]


def judged(texts: pa.Array, name: str) -> tuple[pa.Array, pa.Array, str]:
    """(values, which texts can be what the column holds, what the others are not)."""
    if name == ID:
        return texts, pa.array(np.ones(len(texts), bool)), ""
    bare = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(pc.utf8_lower(bare), value_set=pa.array(MARKERS))
    if name == LABEL:
        good = pc.or_(missing, pc.match_substring_regex(bare, LABELS, ignore_case=True))
        return texts, pc.or_(good, pc.is_in(bare, value_set=pa.array(["-1", "-1.0"]))), "not 0 or 1"
    if name in CATEGORICAL:
        good = pc.less_equal(pc.utf8_length(texts), LONGEST_VALUE)
        return pc.if_else(missing, None, texts), good, f"longer than {LONGEST_VALUE:,} characters"
    number = pc.match_substring_regex(bare, NUMBER)
    values = pc.if_else(number, bare, None).cast(pa.float64())
    finite = pc.fill_null(pc.is_finite(values), False)
    good = pc.or_(missing, pc.and_(number, finite))
    return pc.if_else(finite, values, None), good, "not a finite number"


@dataclass(frozen=True)
class Statistics:
    """Clicks and rows of values and of pairs of values, counted over the training rows.

    Attributes:
        base_rate: clicks over rows, of all training rows.
        values: by categorical field its listed values in the order of their ids, and clicks and
            rows by id. These ids are not those of the vocabulary, which lists fewer values.
        pairs: the two fields of each pair; keys, ascending, which are the id of the first field
            times 2^32 plus that of the second; and the clicks and rows of each key. The ids of
            numeric fields are those of the vocabulary.
        mean, std: of each column.
    """

    base_rate: float
    values: dict[str, tuple[pa.Array, np.ndarray, np.ndarray]]
    pairs: list[tuple[str, str, np.ndarray, np.ndarray, np.ndarray]]
    mean: np.ndarray
    std: np.ndarray

    def columns(self, rows: pa.Table, ids: np.ndarray) -> np.ndarray:
        """Return the standardised columns of some rows, float32 (rows, columns).

        Target statistics of C1 to C26, counts of C1 to C26, then target statistics of pairs.
        """
        logits, counts = [], []
        of = {name: ids[:, place].astype(np.int64) for place, name in enumerate(NUMERIC)}
        for name, (listed, clicks, n_rows) in self.values.items():
            of[name] = found = ids_of(rows[name], listed)
            logits.append(self.logit(clicks[found], n_rows[found]))
            counts.append(np.log1p(n_rows[found]))
        for first, second, keys, clicks, n_rows in self.pairs:
            wanted = (of[first] << 32) | of[second]
            place = np.searchsorted(keys, wanted)
            # A key that is not there has neither clicks nor rows, like the one appended here.
            place[np.append(keys, -1)[place] != wanted] = len(keys)
            counts.append(self.logit(np.append(clicks, 0)[place], np.append(n_rows, 0)[place]))
        columns = np.stack([*logits, *counts], axis=1)
        return ((columns - self.mean) / self.std).astype(np.float32)

    def logit(self, clicks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The log-odds of (clicks + 10 * base rate) / (rows + 10)."""
        smoothed = clicks + PRIOR_ROWS * self.base_rate
        return np.log(smoothed) - np.log(rows + PRIOR_ROWS - smoothed)


@dataclass(frozen=True)
class Preprocessing:
    """What turns rows into the model's inputs.

    Attributes:
        mean, std: of the transformed numbers.
        known: the known values of each field in the order of their ids.
        statistics: None where the model takes no target statistics.
    """

    mean: np.ndarray
    std: np.ndarray
    known: dict[str, pa.Array]
    statistics: Statistics | None


def load_preprocessing() -> Preprocessing:
    values = json.loads(
        (FOLDER / "preprocessing" / "preprocessing.json").read_text(encoding="utf-8")
    )
    table = pq.read_table(FOLDER / "preprocessing" / "vocabulary.parquet")
    known = {
        name: table.filter(pc.equal(table["field"], name))["value"].combine_chunks()
        for name in FIELDS
    }
    known |= {name: known[name].cast(pa.float64()) for name in NUMERIC}
    statistics = load_statistics(values["statistics"]) if values.get("statistics") else None
    return Preprocessing(np.array(values["mean"]), np.array(values["std"]), known, statistics)


def load_statistics(about: dict[str, Any]) -> Statistics:
    """Return the stored target statistics; `about` is what preprocessing.json says of them."""
    table = pq.read_table(FOLDER / "preprocessing" / "statistics.parquet")

    def lines(first: str, second: str) -> tuple[pa.Table, list[np.ndarray]]:
        here = pc.and_(pc.equal(table["first"], first), pc.equal(table["second"], second))
        found = table.filter(here).sort_by([("first_id", "ascending"), ("second_id", "ascending")])
        names = ("first_id", "second_id", "clicks", "rows")
        return found, [found[name].to_numpy().astype(np.int64) for name in names]

    values = {}
    for name in CATEGORICAL:
        found, (ids, _, clicks, n_rows) = lines(name, "")
        listed = found["value"].combine_chunks().filter(pa.array(ids >= FIRST))
        by_id = np.zeros((2, FIRST + len(listed)), np.int64)
        by_id[:, ids] = clicks, n_rows
        values[name] = (listed, *by_id)
    pairs = []
    for first, second in about["pairs"]:
        _, (ids, second_ids, clicks, n_rows) = lines(first, second)
        pairs.append((first, second, (ids << 32) | second_ids, clicks, n_rows))
    mean, std = np.array(about["mean"]), np.array(about["std"])
    return Statistics(about["base_rate"], values, pairs, mean, std)


def ids_of(column: pa.ChunkedArray | pa.Array, known: pa.Array) -> np.ndarray:
    """MISSING, UNSEEN, or FIRST plus the place of each value among the known ones."""
    found = pc.fill_null(pc.index_in(column, value_set=known), -1).to_numpy(zero_copy_only=False)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    return np.where(missing, MISSING, np.where(found < 0, UNSEEN, found + FIRST)).astype(np.int64)


def encode(rows: pa.Table, fitted: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """ids int32 (rows, 39); standardised numbers and statistics float32 (rows, 13 or more)."""
    ids = np.empty((rows.num_rows, len(FIELDS)), dtype=np.int32)
    numerics = np.empty((rows.num_rows, len(NUMERIC)), dtype=np.float32)
    for place, name in enumerate(FIELDS):
        column = rows[name]
        if name in NUMERIC:
            x = column.to_numpy()
            scaled = (np.sign(x) * np.log1p(np.abs(x)) - fitted.mean[place]) / fitted.std[place]
            numerics[:, place] = np.where(np.isnan(scaled), 0.0, scaled)
            # Values up to 2 are buckets of their own; above, the whole part of ln(x)^2.
            high = x > 2
            buckets = np.where(high, np.floor(np.log(np.where(high, x, 3.0)) ** 2) + 2, np.floor(x))
            column = pa.array(
                buckets + 0.0, from_pandas=True
            )  # adding 0 makes 0 of -0, which arrow tells apart
        ids[:, place] = ids_of(column, fitted.known[name])
    if fitted.statistics is not None:
        numerics = np.hstack([numerics, fitted.statistics.columns(rows, ids)])
    return ids, numerics


def write_scores(
    source: Path, target: Path, bad: BadRows, as_trained: bool
) -> tuple[int, np.ndarray, dict[str, str]]:
    """Score the rows of `source` and write the scores to `target`.

    `as_trained` asks for the probabilities before calibration.

    Returns:
        (rows scored, rows of each field with a missing, an unknown or a known value, an unknown
            value
            by column).

    Raises:
        Refused: there is no row.
    """
    try:
        run = json.loads((FOLDER / "run.json").read_text(encoding="utf-8"))
        session = onnxruntime.InferenceSession(
            str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        preprocessing = load_preprocessing()
    except OSError as error:
        raise Refused(
            f"The model in {str(FOLDER)!r} cannot be read ({error}); export it again."
        ) from error
    # A model that is calibrated has the probabilities as trained as its second output.
    output, threshold = 0, run["threshold"]
    if as_trained and len(session.get_outputs()) > 1:
        output, threshold = 1, run["uncalibrated_threshold"]
    done, seen, writer = 0, np.zeros((len(FIELDS), 3), np.int64), None
    examples: dict[str, str] = {}
    try:
        for rows, numbers, id_name in read_rows(source, bad):
            ids, numerics = encode(rows, preprocessing)
            scores = session.run(None, {"ids": ids, "numerics": numerics})[output]
            columns = {ROW: pa.array(numbers, pa.int64())}
            if id_name:
                columns[f"id_{id_name}" if id_name in (ROW, SCORE, CLICK) else id_name] = rows[ID]
            columns |= {
                SCORE: pa.array(scores, pa.float32()),
                CLICK: pa.array((scores >= threshold).astype(np.int8)),
            }
            table = pa.table(columns)
            writer = writer or pcsv.CSVWriter(target, table.schema)
            writer.write_table(table)
            done += len(scores)
            for name in CATEGORICAL:
                unseen = ids[:, FIELDS.index(name)] == UNSEEN
                if name not in examples and unseen.any():
                    examples[name] = rows[name][int(unseen.argmax())].as_py()
            seen += np.stack(
                [np.bincount(np.minimum(column, FIRST), minlength=3) for column in ids.T]
            )
    finally:
        if writer is not None:
            writer.close()
    if not done:
        raise Refused(
            f"{source.name!r} holds no good"
            f" row.{f' The first bad one: {bad.first}' if bad.count else ''}"
        )
    return done, seen, examples


def unknown_columns(seen: np.ndarray) -> list[str]:
    """Categorical columns of which (nearly) no value is known, although enough were in training."""
    shares = json.loads((FOLDER / "run.json").read_text(encoding="utf-8")).get(
        "known_in_training", {}
    )
    found = []
    for name in CATEGORICAL:
        _, unseen, known = seen[FIELDS.index(name)]
        expected = shares.get(name, 0) * (unseen + known)
        if expected >= LEAST_KNOWN and known <= 0.05 * expected:
            found.append(name)
    return found


def knows_none(seen: np.ndarray) -> bool:
    """Return whether almost no categorical value is known, here and in the training rows."""
    shares = json.loads((FOLDER / "run.json").read_text(encoding="utf-8")).get("known_in_training")
    rows = seen[len(NUMERIC) :]
    present = rows[:, 1:].sum(axis=1)
    if not shares or not present.any():
        return False
    expected = sum(shares[name] * count for name, count in zip(CATEGORICAL, present, strict=True))
    return bool(max(expected, rows[:, 2].sum()) <= 0.05 * present.sum())


def example_of(name: str, examples: dict[str, str]) -> str:
    value = examples[name]
    return f"{(value if len(value) <= 40 else value[:37] + '...')!r} in {name}"


def write_whole(target: Path, inputs: list[Path], write: Callable[[Path], None]) -> None:
    """Call `write` with a temporary path and move the finished file to `target`.

    If `target` is a pipe or a device, the finished bytes are copied to it.
    """
    try:
        target.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # what is in its place is seen when the folder is made
    except OSError as error:
        raise Refused(
            f"The output {str(target)[:200]!r} cannot be used ({reason_of(error)}); name another."
        ) from error
    if target.is_dir():
        raise Refused(f"The output {str(target)!r} is a folder; name a file in it.")
    if target.exists() and any(one.exists() and one.samefile(target) for one in inputs):
        raise Refused(
            f"The output {str(target)!r} is the input itself, or the model's; name another file."
        )
    stream = target.exists() and not stat.S_ISREG(target.stat().st_mode)
    final = Path(os.path.realpath(target))
    with made_whole(target, None if stream else final.parent) as folder:
        part = folder / "scores.csv"
        write(part)
        if not stream:
            part.replace(final)
            return
        try:
            with part.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        except OSError as error:
            raise Refused(
                f"The output {str(target)!r} cannot be written ({reason_of(error)}); name a file."
            ) from error


@contextmanager
def made_whole(target: Path, around: Path | None) -> Iterator[Path]:
    """Yield a temporary folder in `around`, or in the system's temporary folder if that is None.

    `around` is created if it is missing, and nothing is left behind if the block fails. An error of
    the system becomes a sentence that names the output `target`.
    """
    missing = [one for one in (around, *around.parents) if not one.exists()] if around else []
    try:
        if around:
            around.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=around, prefix=".part-") as folder:
            yield Path(folder)
    except BaseException as error:
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"The disk of the output {str(target)!r} is full; nothing was written. Free some"
                " space, or name an output elsewhere."
            ) from error
        why = (
            "there is a file where its folder should be"
            if isinstance(error, FileExistsError | NotADirectoryError)
            else reason_of(error)
        )
        raise Refused(
            f"The output {str(target)!r} cannot be written ({why}); name a file in a folder that"
            " can be written."
        ) from error


def calibration_sentence(as_trained: bool) -> str:
    """Return which probabilities are written; "" where the model has only those as trained."""
    run = json.loads((FOLDER / "run.json").read_text(encoding="utf-8"))
    calibration = run.get("calibration") or {"method": "none"}
    if calibration["method"] == "none":
        return ""
    if as_trained:
        return "Probabilities as trained, not recalibrated."
    return str(calibration["sentence"])


def main(source: Path, target: Path, on_bad_rows: str, as_trained: bool = False) -> None:
    """Writes the scores and says how many there are and what was left out."""
    bad, found = BadRows(on_bad_rows == "skip"), []
    model = [FOLDER / "model.onnx", FOLDER / "run.json", Path(__file__)]
    write_whole(
        target,
        [source, *model],
        lambda part: found.append(write_scores(source, part, bad, as_trained)),
    )
    rows, seen, examples = found[0]
    print(f"Wrote {rows:,} score{'s' if rows > 1 else ''} to {target}.")
    if sentence := calibration_sentence(as_trained):
        print(sentence)
    if bad.count:
        print(f"{bad.count:,} bad row{'s' if bad.count > 1 else ''} skipped, such as: {bad.first}")
    for note in bad.notes:
        print(note)
    if knows_none(seen):
        print(
            "The model knows (nearly) no value of the categorical columns, neither of this file nor"
            " of its own training rows: the scores come from the numeric columns alone."
        )
    if names := unknown_columns(seen):
        print(
            f"(Nearly) no value of {', '.join(names)} is known to the model, such as"
            f" {example_of(names[0], examples)}: another spelling (upper case, decimal numbers, a"
            " text before them), another hash, or the columns in another order? The scores hardly"
            " use these columns."
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="the file of rows")
    parser.add_argument("scores", type=Path, help="the CSV to write")
    parser.add_argument("--on-bad-rows", choices=("reject", "skip"), default="reject")
    parser.add_argument(
        "--no-calibration", action="store_true", help="write the probabilities as trained"
    )
    words = parser.parse_args()
    try:
        main(words.rows, words.scores, words.on_bad_rows, words.no_calibration)
    except (Refused, OSError, ValueError) as error:
        print(f"score.py: {error}", file=sys.stderr)
        sys.exit(error.status if isinstance(error, Refused) else 2)
