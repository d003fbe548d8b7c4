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

from core.data.bad_rows import BadRows
from core.data.containers import Guard
from core.data.dialects import Inspection
from core.data.parallel import in_order
from core.data.parse import Rows, UnusualText, code_batch, read_text
from core.data.row_ends import after_rows, count_rows, row_ends
from core.errors import BadInput

BLOCK_BYTES = 7 * 2**20
"""About as many rows as go into one coded batch; no row may be longer."""
PIECE_BYTES = 2**20
"""Read at once: memory of this size is used again and again, that of a block would be fresh every
time."""


@dataclass(frozen=True)
class Block:
    """Whole rows of a file in pieces; header_row: rows before those of data.

    whole: False where a row is longer than a block, which then ends within it.
    """

    pieces: tuple[bytes | memoryview, ...]
    header_row: int
    whole: bool = True

    @property
    def text(self) -> bytes:
        """The lines in one piece, which most blocks never need to be."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(piece) for piece in self.pieces)


def read_blocks(
    stream: Guard, form: Inspection, name: str, bad: BadRows, labels: str = "required"
) -> Iterator[list[Rows]]:
    """The rows of `stream`, block by block; BadInput as `parse.read_text` has it.

    labels: one of core.data.parse.LABEL_RULES. The last line of a stream that breaks off is not
    whole and is left out.
    """

    def parsed(block: Block) -> tuple[Block, list[tuple[pa.RecordBatch, Counter[str]]] | None]:
        return block, _quick(block, form, labels)

    before = start = 0
    for block, batches in in_order(parsed, _blocks(stream, form)):
        if batches is None:
            _check_length(block, name, before)
            here = dataclasses.replace(form, header_row=block.header_row)
            yield list(read_text(block.text, here, name, bad, labels, before, start))
            before += count_rows(block.text, row_ends(block.text, form.delimiter, form.quoted))
        else:
            before += block.header_row
            found = []
            for batch, markers in batches:
                found.append(
                    Rows(batch, np.arange(before + 1, before + 1 + batch.num_rows), markers)
                )
                before += batch.num_rows
            yield found
        start += block.size


def _blocks(stream: Guard, form: Inspection) -> Iterator[Block]:
    pieces: list[bytes] = []
    first, size = form.header_row, 0
    while piece := stream.read(min(PIECE_BYTES, BLOCK_BYTES - size)):
        pieces.append(piece)
        size += len(piece)
        if size < BLOCK_BYTES:
            continue
        # Within quotation marks a line end ends no row, and whether a place is within them the
        # whole block says.
        if form.quoted or not (cut := _last_row_end(piece, form)):
            pieces = [piece := b"".join(pieces)]
            # A row that fills a block alone is left for the careful reader to refuse.
            cut = _last_row_end(piece, form) or len(piece)
        yield Block(
            (*pieces[:-1], memoryview(piece)[:cut]),
            first,
            whole=cut < len(piece) or _ends_row(piece, form),
        )
        pieces, first, size = [piece[cut:]], 0, len(piece) - cut
    if stream.truncated:
        rest = b"".join(pieces)
        pieces = [rest[: int(max(row_ends(rest, form.delimiter, form.quoted), default=0))]]
    if sum(map(len, pieces)):
        yield Block(tuple(pieces), first)


def _last_row_end(text: bytes, form: Inspection) -> int:
    """Where the last row begins that `text` may hold only in part; 0 where there is no other."""
    if not form.quoted or b'"' not in text:
        return text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
    ends = row_ends(text, form.delimiter, form.quoted)
    # What follows a return at the end may be its line feed.
    sure = ends[ends < len(text)] if text.endswith(b"\r") else ends
    return int(sure[-1]) if len(sure) else 0


def _ends_row(text: bytes, form: Inspection) -> bool:
    ends = row_ends(text, form.delimiter, form.quoted)
    return bool(len(ends)) and int(ends[-1]) == len(text)


def _check_length(block: Block, name: str, before: int) -> None:
    if not block.whole:
        raise BadInput(
            f"{name!r} has a row longer than {BLOCK_BYTES:,} bytes near row {before + 1:,}: that is"
            " damage, not a Criteo row."
        )


def _quick(
    block: Block, form: Inspection, labels: str
) -> list[tuple[pa.RecordBatch, Counter[str]]] | None:
    """The block's rows and the missing-value markers among them, or None where the careful reader
    has to look."""
    from core.data.cells import code_cells

    pieces = block.pieces
    if block.header_row:
        text = block.text
        pieces = (text[after_rows(text, block.header_row, form.delimiter, form.quoted) :],)
    wanted = [column is not None for column in form.columns]
    names = [column for column in form.columns if column]
    try:
        return [
            code_batch(dict(zip(names, columns, strict=True)), form, labels)
            for columns in code_cells(pieces, form.delimiter, wanted, form.quoted)
        ]
    except (UnusualText, pa.ArrowInvalid):
        return None
