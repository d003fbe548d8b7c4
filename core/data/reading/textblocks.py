"""Rows of text in blocks of whole rows, several parsed at once.

The quick parser takes blocks with nothing out of the ordinary. Every other block goes to
`parse.read_text`, which names its faults, skips bad rows, and alone decides what is one.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.data.archives.containers import BoundedReader
from core.data.parallel import map_ordered
from core.data.reading.bad_rows import BadRowHandler
from core.data.reading.dialects import FileFormat
from core.data.reading.parse import NeedsSlowPath, ParsedRows, parse_batch, parse_text
from core.data.reading.row_ends import count_rows, find_row_ends, skip_rows
from core.errors import BadInput

BLOCK_BYTES = 7 * 2**20
"""About as many rows as go into one coded batch; no row may be longer."""
PIECE_BYTES = 2**20
"""Read at once: memory of this size is used again and again, that of a block would be fresh every
time."""


@dataclass(frozen=True)
class Block:
    """Whole rows of a file in pieces; rows_before_data: rows before those of data.

    ends_at_row: False where a row is longer than a block, which then ends within it.
    """

    pieces: tuple[bytes | memoryview, ...]
    rows_before_data: int
    ends_at_row: bool = True

    @property
    def text(self) -> bytes:
        """The lines in one piece, which most blocks never need to be."""
        return b"".join(self.pieces)

    @property
    def n_bytes(self) -> int:
        """In bytes."""
        return sum(len(piece) for piece in self.pieces)


def read_blocks(
    stream: BoundedReader, form: FileFormat, name: str, bad: BadRowHandler, labels: str = "required"
) -> Iterator[list[ParsedRows]]:
    """The rows of `stream`, block by block; BadInput as `parse.read_text` has it.

    labels: one of core.data.reading.parse.LABEL_RULES. The last line of a stream that breaks off is not
    whole and is left out.
    """

    def parsed(block: Block) -> tuple[Block, list[tuple[pa.RecordBatch, Counter[str]]] | None]:
        return block, _fast_path(block, form, labels)

    before = start = 0
    for block, batches in map_ordered(parsed, _cut_blocks(stream, form)):
        if batches is None:
            _check_length(block, name, before)
            here = dataclasses.replace(form, rows_before_data=block.rows_before_data)
            yield list(parse_text(block.text, here, name, bad, labels, before, start))
            before += count_rows(block.text, find_row_ends(block.text, form.delimiter, form.quoted))
        else:
            before += block.rows_before_data
            found = []
            for batch, markers in batches:
                found.append(
                    ParsedRows(batch, np.arange(before + 1, before + 1 + batch.num_rows), markers)
                )
                before += batch.num_rows
            yield found
        start += block.n_bytes


def _cut_blocks(stream: BoundedReader, form: FileFormat) -> Iterator[Block]:
    pieces: list[bytes] = []
    first, size = form.rows_before_data, 0
    while piece := stream.read(min(PIECE_BYTES, BLOCK_BYTES - size)):
        pieces.append(piece)
        size += len(piece)
        if size < BLOCK_BYTES:
            continue
        # Within quotation marks a line end ends no row, and whether a place is within them the
        # whole block says.
        if form.quoted or not (cut := _last_row_start(piece, form)):
            pieces = [piece := b"".join(pieces)]
            # A row that fills a block alone is left for the careful reader to refuse.
            cut = _last_row_start(piece, form) or len(piece)
        yield Block(
            (*pieces[:-1], memoryview(piece)[:cut]),
            first,
            ends_at_row=cut < len(piece) or _ends_at_row(piece, form),
        )
        pieces, first, size = [piece[cut:]], 0, len(piece) - cut
    if stream.truncated:
        rest = b"".join(pieces)
        pieces = [rest[: int(max(find_row_ends(rest, form.delimiter, form.quoted), default=0))]]
    if sum(map(len, pieces)):
        yield Block(tuple(pieces), first)


def _last_row_start(text: bytes, form: FileFormat) -> int:
    """Where the last row begins that `text` may hold only in part; 0 where there is no other."""
    if not form.quoted or b'"' not in text:
        return text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
    ends = find_row_ends(text, form.delimiter, form.quoted)
    # What follows a return at the end may be its line feed.
    sure = ends[ends < len(text)] if text.endswith(b"\r") else ends
    return int(sure[-1]) if len(sure) else 0


def _ends_at_row(text: bytes, form: FileFormat) -> bool:
    ends = find_row_ends(text, form.delimiter, form.quoted)
    return bool(len(ends)) and int(ends[-1]) == len(text)


def _check_length(block: Block, name: str, before: int) -> None:
    if not block.ends_at_row:
        raise BadInput(
            f"{name!r} has a row longer than {BLOCK_BYTES:,} bytes near row {before + 1:,}: that is"
            " damage, not a Criteo row."
        )


def _fast_path(
    block: Block, form: FileFormat, labels: str
) -> list[tuple[pa.RecordBatch, Counter[str]]] | None:
    """The block's rows and the missing-value markers among them, or None where the careful reader
    has to look."""
    from core.data.reading.tokenizer import tokenize

    pieces = block.pieces
    if block.rows_before_data:
        text = block.text
        pieces = (text[skip_rows(text, block.rows_before_data, form.delimiter, form.quoted) :],)
    wanted = [column is not None for column in form.columns]
    names = [column for column in form.columns if column]
    try:
        return [
            parse_batch(dict(zip(names, columns, strict=True)), form, labels)
            for columns in tokenize(pieces, form.delimiter, wanted, form.quoted)
        ]
    except (NeedsSlowPath, pa.ArrowInvalid):
        return None
