"""What the messages of an Arrow IPC file or stream say they unpack to, read before Arrow makes room
for it.

A compressed buffer begins with the size it claims to have unpacked, for which Arrow allocates
memory at once. Format: https://arrow.apache.org/docs/format/Columnar.html. Metadata are
flatbuffers, of which a few fields are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

MAGIC = b"ARROW1"
_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _RECORDS = 1, 2, 3
_MAX_PADDING = 64
"""Bytes that may lie between two messages."""
_NOT_COMPRESSED = -1


@dataclass(frozen=True)
class Message:
    """A batch of rows or of a dictionary's values.

    n_cells: its rows times its columns, which may take no room in the file. claimed_bytes: bytes that it
    says it has unpacked. end: where the next one may begin.
    """

    n_cells: int
    claimed_bytes: int
    end: int


def file_messages(data: mmap) -> Iterator[Message]:
    """Every batch that the footer of an IPC file names; ValueError, IndexError or struct.error
    where it is damaged.

    ValueError as well where the file holds batches that the footer does not name, as two files put
    end to end do, or where the footer names one twice.
    """
    if len(data) < 20 or data[-6:] != MAGIC:
        raise ValueError("its end is missing: it is truncated")
    (length,) = struct.unpack_from("<i", data, len(data) - 10)
    start = len(data) - 10 - length
    if length <= 0 or start < 8:
        raise ValueError("its footer is damaged")
    footer = _Table.root(data, start, len(data) - 10)
    place = _find_schema_end(data, start)
    for offset, metadata, _ in sorted((*footer.structs(2, "<qi4xq"), *footer.structs(3, "<qi4xq"))):
        if offset < place:
            raise ValueError("its footer names the same place twice")
        if offset - place > _MAX_PADDING:
            raise ValueError("it holds data that its footer does not name: two files end to end?")
        message = _file_message(data, offset, metadata, start)
        yield message
        place = message.end
    if start - place > _MAX_PADDING + 8:
        raise ValueError("it holds data that its footer does not name: two files end to end?")


def stream_messages(data: mmap) -> Iterator[Message]:
    """Every batch of an IPC stream, from its beginning; ValueError where it breaks off or more
    follows its end."""
    place = 0
    while place < len(data):
        metadata, length = _read_prefix(data, place)
        if not length:
            if data[metadata:].strip(b"\x00"):
                raise ValueError("more follows its end: two streams end to end?")
            return
        message = _message(data, metadata, metadata + length)
        if message.end > len(data):
            raise ValueError("it breaks off: it is truncated")
        yield message
        place = message.end


def _find_schema_end(data: mmap, end: int) -> int:
    """Where the first batch of a file may begin: its schema stands first."""
    metadata, length = _read_prefix(data, 8)
    if not 0 < length <= end - metadata:
        raise ValueError("its schema is missing")
    return metadata + length


def _file_message(data: mmap, place: int, metadata_length: int, end: int) -> Message:
    if place < 8 or metadata_length < 8 or place + metadata_length > end:
        raise ValueError("its footer names a batch that is not in the file")
    metadata, length = _read_prefix(data, place)
    if length <= 0 or metadata + length > place + metadata_length:
        raise ValueError("the header of a batch is damaged")
    message = _message(data, metadata, metadata + length, place + metadata_length)
    if message.end > end:
        raise ValueError("a batch is longer than the file")
    return message


def _read_prefix(data: mmap, place: int) -> tuple[int, int]:
    """(where the metadata of a message begins, its length: 0 marks the end of a stream)."""
    (mark,) = struct.unpack_from("<I", data, place)
    if mark != _CONTINUATION:
        # As written before 2019, without the mark.
        return place + 4, mark
    (length,) = struct.unpack_from("<i", data, place + 4)
    if length < 0:
        raise ValueError("the header of a batch has a length below 0")
    return place + 8, length


def _message(data: mmap, metadata: int, end: int, body: int | None = None) -> Message:
    body = end if body is None else body
    message = _Table.root(data, metadata, end)
    kind, length = message.number(1, "<B"), message.number(3, "<q")
    if length < 0:
        raise ValueError("a batch has a length below 0")
    if kind == _SCHEMA:
        return Message(0, 0, body + length)
    if kind not in (_DICTIONARY, _RECORDS):
        raise ValueError("it holds tensors in place of rows")
    header = message.table(2)
    batch = header.table(1) if kind == _DICTIONARY else header
    rows = batch.number(0, "<q")
    if rows < 0:
        raise ValueError("a batch has fewer than 0 rows")
    claimed = length
    if batch.has(3):
        claimed = sum(
            _read_claimed_bytes(data, body, length, *buffer) for buffer in batch.structs(2, "<qq")
        )
    return Message(rows * len(batch.structs(1, "<qq")), claimed, body + length)


def _read_claimed_bytes(data: mmap, body: int, length: int, offset: int, size: int) -> int:
    """Bytes that a compressed buffer says it has unpacked."""
    if offset < 0 or size < 0 or offset + size > length:
        raise ValueError("a buffer lies outside its batch")
    if size == 0:
        return 0
    if size < 8 or body + offset + 8 > len(data):
        raise ValueError("a compressed buffer lacks its size")
    (claimed,) = struct.unpack_from("<q", data, body + offset)
    if claimed < _NOT_COMPRESSED:
        raise ValueError("a compressed buffer has a size below 0")
    return int(size - 8 if claimed == _NOT_COMPRESSED else claimed)


class _Table:
    """A table of a flatbuffer that ends at `end`: https://flatbuffers.dev/internals/."""

    def __init__(self, data: mmap, place: int, begin: int, end: int) -> None:
        self._data = data
        self._begin = begin
        self._end = end
        self._place = self._check_bounds(place, 4)
        self._fields = self._check_bounds(place - self._unpack("<i", place), 4)
        self._size = self._unpack("<H", self._fields)
        self._check_bounds(self._fields, self._size)

    @classmethod
    def root(cls, data: mmap, begin: int, end: int) -> "_Table":
        """The outermost table of the flatbuffer between `begin` and `end`."""
        if end - begin < 8 or end > len(data):
            raise ValueError("its metadata are damaged")
        (offset,) = struct.unpack_from("<I", data, begin)
        return cls(data, begin + offset, begin, end)

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return self._field_offset(field) is not None

    def number(self, field: int, form: str) -> int:
        """A number, 0 by default as in every field read here."""
        place = self._field_offset(field)
        return 0 if place is None else self._unpack(form, place)

    def table(self, field: int) -> "_Table":
        """A table within this one."""
        return _Table(self._data, self._follow_offset(field), self._begin, self._end)

    def structs(self, field: int, form: str) -> list[tuple[int, ...]]:
        """The structs of a vector, each as a tuple; none by default."""
        if not self.has(field):
            return []
        place, size = self._follow_offset(field), struct.calcsize(form)
        count = self._unpack("<I", place)
        self._check_bounds(place + 4, count * size)
        return list(struct.iter_unpack(form, self._data[place + 4 : place + 4 + count * size]))

    def _field_offset(self, field: int) -> int | None:
        slot = 4 + 2 * field
        offset = self._unpack("<H", self._fields + slot) if slot + 2 <= self._size else 0
        return self._place + offset if offset else None

    def _follow_offset(self, field: int) -> int:
        place = self._field_offset(field)
        if place is None:
            raise ValueError("its metadata lack a field")
        return place + self._unpack("<I", place)

    def _unpack(self, form: str, place: int) -> int:
        (found,) = struct.unpack_from(
            form, self._data, self._check_bounds(place, struct.calcsize(form))
        )
        return int(found)

    def _check_bounds(self, place: int, size: int) -> int:
        if not (self._begin <= place and place + size <= self._end):
            raise ValueError("its metadata are damaged")
        return place
