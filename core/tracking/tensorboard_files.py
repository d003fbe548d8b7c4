"""TensorBoard's event files, written without TensorBoard; ``tensorboard --logdir OUT`` shows them.

A file holds records (length, its checksum, bytes, their checksum: the TFRecord format) of Event
messages in the wire format of protocol buffers (tensorflow/core/util/event.proto and
framework/summary.proto), of which four fields are needed.
"""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.tracking.tracked import TrackedRun

_CASTAGNOLI = 0x82F63B78
_STRING = 7
"""DT_STRING in tensorflow/core/framework/types.proto."""


def write_tensorboard(target: Path, runs: Sequence[TrackedRun], final: Path) -> list[Path]:
    """Write an event file for every run, in a folder named by its id, and return the files."""
    files = []
    for run in runs:
        folder = target / run.id
        folder.mkdir()
        path = folder / f"events.out.tfevents.{int(run.started)}.thaw"
        path.write_bytes(b"".join(tfrecord(event) for event in _events(run)))
        files.append(path)
    return files


def _events(run: TrackedRun) -> Iterable[bytes]:
    yield _double(1, run.started) + _bytes(3, b"brain.Event:2")
    settings = "".join(
        f"| {name} | {value} |\n"
        for name, value in {"name": run.name, **run.params, **run.tags}.items()
    )
    yield _event(
        run.started, 0, _text_value("settings", f"| setting | value |\n|---|---|\n{settings}")
    )
    for name, (steps, values, seconds) in run.curves.items():
        for step, value, passed in zip(
            steps.tolist(), values.tolist(), seconds.tolist(), strict=True
        ):
            yield _event(run.started + passed, step, _scalar_value(name, value))
    for name, value in run.metrics.items():
        yield _event(run.finished or run.started, run.last_step, _scalar_value(name, value))


def _event(time: float, step: int, value: bytes) -> bytes:
    return _double(1, time) + _number(2, step) + _bytes(5, _bytes(1, value))


def _scalar_value(tag: str, value: float) -> bytes:
    return _bytes(1, tag.encode()) + _key(2, 5) + struct.pack("<f", value)


def _text_value(tag: str, text: str) -> bytes:
    tensor = _number(1, _STRING) + _bytes(2, _bytes(2, _number(1, 1))) + _bytes(8, text.encode())
    plugin = _bytes(1, _bytes(1, b"text"))
    return _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, plugin)


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tfrecord(data: bytes) -> bytes:
    """Return `data` as one TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    checksum = crc32c(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) checksum of `data`, as in RFC 3720.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = checksum >> 8 ^ _TABLE[(checksum ^ byte) & 0xFF]
    return checksum ^ 0xFFFFFFFF
