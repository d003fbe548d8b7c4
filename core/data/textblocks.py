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

from core.data import parse
from core.data.containers import Guard
from core.data.dialects import Inspection
from core.data.parallel import in_order
from core.data.parse import BadRows, UnusualText, read_text
from core.data.rowsfile import code, coded_batch
from core.data.schema import CATEGORICAL, LABEL, NUMERIC
from core.errors import BadInput

PIECE_BYTES = 2**20
"""Read at once: memory of this size is used again and again, that of a block would be fresh every time."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a file in pieces; header_row: the one that names columns, from 1; 0 for none."""

    pieces: tuple[bytes | memoryview, ...]
    header_row: int

    @property
    def text(self) -> bytes:
        """The lines in one piece, which most blocks never need to be."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(piece) for piece in self.pieces)


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
        start += block.size
        yield batches


def _blocks(stream: Guard, header_row: int) -> Iterator[Block]:
    pieces: list[bytes] = []
    first, size = header_row, 0
    while piece := stream.read(min(PIECE_BYTES, parse.BLOCK_BYTES - size)):
        pieces.append(piece)
        size += len(piece)
        if size < parse.BLOCK_BYTES:
            continue
        if not (cut := _last_line_end(piece)):
            pieces = [piece := b"".join(pieces)]
            # A line that fills a block alone is left for the careful reader to refuse.
            cut = _last_line_end(piece) or len(piece)
        yield Block((*pieces[:-1], memoryview(piece)[:cut]), first)
        pieces, first, size = [piece[cut:]], 0, len(piece) - cut
    if size:
        yield Block(tuple(pieces), first)


def _last_line_end(text: bytes) -> int:
    """Where the last line begins that `text` may hold only in part; 0 where there is no other."""
    return text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1


def _check_length(block: Block, name: str, before: int) -> None:
    if block.size >= parse.BLOCK_BYTES and not block.text.endswith((b"\n", b"\r")):
        raise BadInput(
            f"{name!r} has a row longer than {parse.BLOCK_BYTES:,} bytes near row {before + 1:,}: that is damage, not "
            "a Criteo row."
        )


def _lines(text: bytes) -> int:
    """Lines as Arrow counts them, whose ends may be of any kind."""
    ends = text.count(b"\n")
    if b"\r" in text:
        ends += text.count(b"\r") - text.count(b"\r\n")
    return ends + (not text.endswith((b"\n", b"\r")))


def _quick(block: Block, form: Inspection) -> list[pa.RecordBatch] | None:
    """The block's rows, or None where the careful reader has to look."""
    from core.data.cells import code_cells

    pieces = (block.text[_after_header(block) :],) if block.header_row else block.pieces
    wanted = [column is not None for column in form.columns]
    names = [column for column in form.columns if column]
    batches = []
    try:
        for columns in code_cells(pieces, form.delimiter, wanted, form.dialect == "csv"):
            batches.append(_batch(dict(zip(names, columns, strict=True))))
    except (UnusualText, pa.ArrowInvalid):
        return None
    return batches


def _after_header(block: Block) -> int:
    """Where the line after the header begins."""
    text, place = block.text, 0
    for _ in range(block.header_row):
        ends = [end for end in (text.find(b"\n", place), text.find(b"\r", place)) if end >= 0]
        if not ends:
            return len(text)
        place = min(ends) + (2 if text[min(ends) : min(ends) + 2] == b"\r\n" else 1)
    return place


def _batch(columns: dict[str, pa.DictionaryArray]) -> pa.RecordBatch:
    """Columns of text as a coded batch; UnusualText or ArrowInvalid where a cell is not what belongs there."""
    for name, column in columns.items():
        column.dictionary.validate(full=True)
        if name == LABEL:
            found = pc.index_in(column.dictionary, value_set=parse.LABELS)
            if found.null_count:
                raise UnusualText
            columns[name] = pc.bit_wise_and(found, 1).cast(pa.int8()).take(column.indices)
        elif name in NUMERIC:
            numbers = column.dictionary.cast(pa.float64())
            if pc.all(pc.is_finite(numbers)).as_py() is False:
                raise UnusualText
            # Adding nought makes -0 the same as 0.
            columns[name] = pa.DictionaryArray.from_arrays(column.indices, pc.add(numbers, 0.0), safe=False)
        elif name not in CATEGORICAL:
            columns[name] = column.cast(pa.string())
        elif (pc.max(pc.binary_length(column.dictionary)).as_py() or 0) > parse.MAX_FIELD:
            raise UnusualText
    return coded_batch(columns)
