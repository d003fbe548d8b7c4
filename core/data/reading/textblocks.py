"""Reads rows of text in blocks of whole rows, several of which are parsed at once.

The fast path takes blocks without anything unusual. Every other block goes to `parse.parse_text`,
which reports its faults, skips bad rows, and alone decides what a bad row is.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.data.archives.bounded_reader import BoundedReader
from core.data.parallel import map_ordered
from core.data.reading.bad_rows import BadRowHandler
from core.data.reading.dialects import FileFormat
from core.data.reading.parse import NeedsSlowPath, ParsedRows, parse_batch, parse_text
from core.data.reading.row_ends import count_rows, find_row_ends, skip_rows
from core.errors import BadInput

BLOCK_BYTES = 7 * 2**20
"""Bytes of a block, about as many rows as fit into one batch; no row may be longer."""
PIECE_BYTES = 2**20
"""Bytes per read. The allocator reuses memory of this size; that of a whole block would be new
every time, which is slower."""


@dataclass(frozen=True)
class Block:
    """Whole rows of a file, in pieces.

    Attributes:
        pieces: the text, cut at any position.
        rows_before_data: number of header rows at its start.
        ends_at_row: false for a row longer than a block, which then ends within it.
    """

    pieces: tuple[bytes | memoryview, ...]
    rows_before_data: int
    ends_at_row: bool = True

    @property
    def text(self) -> bytes:
        """The block in one piece, which only the slow path needs."""
        return b"".join(self.pieces)

    @property
    def n_bytes(self) -> int:
        """Size in bytes."""
        return sum(len(piece) for piece in self.pieces)


def read_blocks(
    stream: BoundedReader,
    file_format: FileFormat,
    file: str,
    bad_rows: BadRowHandler,
    labels: str = "required",
) -> Iterator[list[ParsedRows]]:
    """Yield the rows of `stream`, block by block.

    The last line of a truncated stream is incomplete and is left out.

    Args:
        stream: the text.
        file_format: its format.
        file: its name, for messages.
        bad_rows: what to do with bad rows.
        labels: one of `parse.LABEL_RULES`.
    """

    def parse(block: Block) -> tuple[Block, list[tuple[pa.RecordBatch, Counter[str]]] | None]:
        return block, _fast_path(block, file_format, labels)

    rows_before = bytes_before = 0
    for block, batches in map_ordered(parse, _cut_blocks(stream, file_format)):
        if batches is None:
            _check_length(block, file, rows_before)
            block_format = dataclasses.replace(file_format, rows_before_data=block.rows_before_data)
            yield list(
                parse_text(
                    block.text, block_format, file, bad_rows, labels, rows_before, bytes_before
                )
            )
            rows_before += count_rows(
                block.text, find_row_ends(block.text, file_format.delimiter, file_format.quoted)
            )
        else:
            rows_before += block.rows_before_data
            parsed = []
            for batch, markers in batches:
                parsed.append(
                    ParsedRows(
                        batch, np.arange(rows_before + 1, rows_before + 1 + batch.num_rows), markers
                    )
                )
                rows_before += batch.num_rows
            yield parsed
        bytes_before += block.n_bytes


def _cut_blocks(stream: BoundedReader, file_format: FileFormat) -> Iterator[Block]:
    pieces: list[bytes] = []
    n_header_rows, n_bytes = file_format.rows_before_data, 0
    while piece := stream.read(min(PIECE_BYTES, BLOCK_BYTES - n_bytes)):
        pieces.append(piece)
        n_bytes += len(piece)
        if n_bytes < BLOCK_BYTES:
            continue
        # A line end within quotation marks ends no row, and only the text from the start of the
        # block tells whether a position is within them.
        if file_format.quoted or not (end := _last_row_start(piece, file_format)):
            pieces = [piece := b"".join(pieces)]
            # A row longer than a block is passed on as it is; the slow path refuses it.
            end = _last_row_start(piece, file_format) or len(piece)
        yield Block(
            (*pieces[:-1], memoryview(piece)[:end]),
            n_header_rows,
            ends_at_row=end < len(piece) or _ends_at_row(piece, file_format),
        )
        pieces, n_header_rows, n_bytes = [piece[end:]], 0, len(piece) - end
    if stream.truncated:
        rest = b"".join(pieces)
        pieces = [
            rest[
                : int(
                    max(find_row_ends(rest, file_format.delimiter, file_format.quoted), default=0)
                )
            ]
        ]
    if sum(map(len, pieces)):
        yield Block(tuple(pieces), n_header_rows)


def _last_row_start(text: bytes, file_format: FileFormat) -> int:
    """Return where the last row starts, which `text` may contain only in part; 0 for none."""
    if not file_format.quoted or b'"' not in text:
        return text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
    ends = find_row_ends(text, file_format.delimiter, file_format.quoted)
    # A carriage return at the end may be followed by its line feed.
    certain = ends[ends < len(text)] if text.endswith(b"\r") else ends
    return int(certain[-1]) if len(certain) else 0


def _ends_at_row(text: bytes, file_format: FileFormat) -> bool:
    ends = find_row_ends(text, file_format.delimiter, file_format.quoted)
    return bool(len(ends)) and int(ends[-1]) == len(text)


def _check_length(block: Block, file: str, rows_before: int) -> None:
    if not block.ends_at_row:
        raise BadInput(
            f"{file!r} has a row longer than {BLOCK_BYTES:,} bytes near row {rows_before + 1:,}:"
            " that is damage, not a Criteo row."
        )


def _fast_path(
    block: Block, file_format: FileFormat, labels: str
) -> list[tuple[pa.RecordBatch, Counter[str]]] | None:
    """Return the block's batches and their markers; None if the slow path is needed."""
    from core.data.reading.tokenizer import tokenize

    pieces = block.pieces
    if block.rows_before_data:
        text = block.text
        pieces = (
            text[
                skip_rows(text, block.rows_before_data, file_format.delimiter, file_format.quoted) :
            ],
        )
    wanted = [column is not None for column in file_format.columns]
    names = [column for column in file_format.columns if column]
    try:
        return [
            parse_batch(dict(zip(names, columns, strict=True)), file_format, labels)
            for columns in tokenize(pieces, file_format.delimiter, wanted, file_format.quoted)
        ]
    except (NeedsSlowPath, pa.ArrowInvalid):
        return None
