"""Rows of text in blocks of whole lines, several parsed at once.

The quick parser takes blocks with nothing out of the ordinary. Every other block goes to `parse.read_text`, which
names its faults, skips bad rows, and alone decides what is one.
"""

import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from core.data import parse
from core.data.containers import Guard
from core.data.dialects import Inspection
from core.data.parallel import in_order
from core.data.parse import BadRows, read_text
from core.data.rowsfile import code
from core.data.schema import CATEGORICAL, LABEL, NUMERIC
from core.errors import BadInput

_UNUSUAL = (b"\x00", b" ", b"x", b"X")
"""A byte with which Arrow's reading of numbers is more forgiving than `parse` is, or which is no text."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a file; header_row: the one that names columns, from 1; 0 for none."""

    text: bytes
    header_row: int


def read_blocks(stream: Guard, form: Inspection, name: str, bad: BadRows) -> Iterator[list[pa.RecordBatch]]:
    """The rows of `stream` as coded batches, block by block; BadInput as `parse.read_text` has it."""

    def parsed(block: Block) -> tuple[Block, list[pa.RecordBatch] | None]:
        return block, _quick(block, form)

    before = start = 0
    for block, batches in in_order(parsed, _blocks(stream, form.header_row)):
        if batches is None:
            _check_length(block, name, before)
            here = dataclasses.replace(form, header_row=block.header_row)
            tables = read_text(io.BytesIO(block.text), here, name, bad, before, start)
            batches = [batch for table in tables for batch in code(table)]
            before += _lines(block.text)
        elif form.labelled:
            before += block.header_row + sum(batch.num_rows for batch in batches)
        else:
            # Blank lines are no rows here.
            before += _lines(block.text)
        start += len(block.text)
        yield batches


def _blocks(stream: Guard, header_row: int) -> Iterator[Block]:
    rest, first = b"", header_row
    while data := _fill(stream, parse.BLOCK_BYTES - len(rest)):
        cut = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
        if not cut and len(rest) + len(data) < parse.BLOCK_BYTES:
            rest += data
            continue
        # A line that fills a block alone is left for the careful reader to refuse.
        cut = cut or len(data)
        yield Block(b"".join((rest, memoryview(data)[:cut])), first)
        rest, first = data[cut:], 0
    if rest:
        yield Block(rest, first)


def _check_length(block: Block, name: str, before: int) -> None:
    if len(block.text) >= parse.BLOCK_BYTES and not block.text.endswith((b"\n", b"\r")):
        raise BadInput(
            f"{name!r} has a row longer than {parse.BLOCK_BYTES:,} bytes near row {before + 1:,}: that is damage, not "
            "a Criteo row."
        )


def _fill(stream: Guard, size: int) -> bytes:
    """`size` bytes, or what is left of the stream; one call to a packed stream may give less."""
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _lines(text: bytes) -> int:
    """Lines as Arrow counts them, whose ends may be of any kind."""
    ends = text.count(b"\n")
    if b"\r" in text:
        ends += text.count(b"\r") - text.count(b"\r\n")
    return ends + (not text.endswith((b"\n", b"\r")))


def _quick(block: Block, form: Inspection) -> list[pa.RecordBatch] | None:
    """The block's rows, or None where the careful reader has to look."""
    unusual = (*_UNUSUAL, b"\t") if form.delimiter == "," else _UNUSUAL
    if any(byte in block.text for byte in unusual):
        return None
    # Whole numbers first: they are read faster, and Criteo has no others.
    for number in (pa.int64(), pa.float64()):
        try:
            table = _read(block, form, number)
        except pa.ArrowInvalid:
            continue
        if form.labelled:
            labels = pc.index_in(table[LABEL], value_set=parse.LABELS)
            if labels.null_count:
                return None
            table = table.set_column(table.column_names.index(LABEL), LABEL, pc.bit_wise_and(labels, 1))
        batches = code(table)
        return batches if all(_ordinary(batch, number) for batch in batches) else None
    return None


def _read(block: Block, form: Inspection, number: pa.DataType) -> pa.Table:
    columns = [column or f"ignored {place}" for place, column in enumerate(form.columns)]
    return pyarrow.csv.read_csv(
        pa.BufferReader(block.text),
        pyarrow.csv.ReadOptions(
            column_names=columns, skip_rows=block.header_row, block_size=parse.BLOCK_BYTES, use_threads=False
        ),
        parse.parse_options(form),
        parse.convert_options(form, dict.fromkeys(columns, pa.string()) | dict.fromkeys(NUMERIC, number)),
    )


def _ordinary(batch: pa.RecordBatch, number: pa.DataType) -> bool:
    """Whether all numbers are finite and no category is absurdly long."""
    for name in CATEGORICAL:
        if (pc.max(pc.binary_length(batch[name].dictionary)).as_py() or 0) > parse.MAX_FIELD:
            return False
    return pa.types.is_integer(number) or all(
        pc.all(pc.is_finite(batch[name].dictionary)).as_py() is not False for name in NUMERIC
    )
