"""Reads from the page headers of a Parquet file what sizes they claim to unpack to.

Arrow allocates what a page's own header claims, whatever the footer says about the whole column.
The headers use Thrift's compact protocol:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import mmap
from pathlib import Path

import pyarrow.parquet as pq

from core.errors import BadInput

UNPACKED, PACKED = 2, 3
"""Field ids of a page header: unpacked size, and size in the file after the header."""
BOOLEAN, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, MAP, STRUCT = (
    (1, 2),
    3,
    (4, 5, 6),
    7,
    8,
    (9, 10),
    11,
    12,
)
MAX_DEPTH = 8
"""Largest nesting of a header; real ones nest three deep."""


def sum_claimed_bytes(path: Path, metadata: pq.FileMetaData) -> int:
    """Return the sum of the sizes that all pages claim; raise BadInput if a header is damaged."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return sum(
                _sum_chunk(data, metadata.row_group(group).column(column))
                for group in range(metadata.num_row_groups)
                for column in range(metadata.num_columns)
            )
        except (IndexError, ValueError) as error:
            raise BadInput(
                f"{path.name!r} cannot be read as Parquet (the header of a page is damaged); write"
                " it again."
            ) from error


def _sum_chunk(data: mmap.mmap, chunk: pq.ColumnChunkMetaData) -> int:
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < position:
        position = chunk.dictionary_page_offset
    end, claimed = position + chunk.total_compressed_size, 0
    while position < end:
        header = _Struct(data, position)
        unpacked, packed = header.numbers.get(UNPACKED, -1), header.numbers.get(PACKED, -1)
        if unpacked < 0 or packed < 0:
            raise ValueError("a page without sizes")
        claimed += unpacked
        position = header.end + packed
    return claimed


class _Struct:
    """A Thrift struct at `position`: its integers by field id, and where it ends."""

    def __init__(self, data: mmap.mmap, position: int, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise ValueError("a header nested too deep")
        self._data = data
        self._depth = depth
        self.numbers: dict[int, int] = {}
        self.end = position
        field = 0
        while kind := self._byte():
            delta, kind = kind >> 4, kind & 15
            field = field + delta if delta else self._number()
            if kind in INTEGERS:
                self.numbers[field] = self._number()
            elif kind not in BOOLEAN:
                self._skip(kind)

    def _skip(self, kind: int) -> None:
        if kind in (BYTE, *BOOLEAN):
            self.end += 1
        elif kind in INTEGERS:
            self._varint()
        elif kind == DOUBLE:
            self.end += 8
        elif kind == BINARY:
            length = self._varint()
            self.end += length
        elif kind in LISTS:
            head = self._byte()
            for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
                self._skip(head & 15)
        elif kind == MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            for _ in range(size):
                self._skip(kinds >> 4)
                self._skip(kinds & 15)
        elif kind == STRUCT:
            self.end = _Struct(self._data, self.end, self._depth + 1).end
        else:
            raise ValueError(f"no kind of field has the number {kind}")

    def _byte(self) -> int:
        value = self._data[self.end]
        self.end += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _number(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)
