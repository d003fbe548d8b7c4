"""Names file formats that are not read, by their first bytes, and says what to do about each.

Nothing here opens or unpickles a file. The formats are listed in `format_signatures`.
"""

import re
import struct
from collections.abc import Sequence

from core.data.archives.format_signatures import (
    CONVERT_ADVICE,
    PACKED_TWICE,
    PATTERNS,
    PICKLE_ADVICE,
    PICKLE_TEXT,
    SIGNATURES,
    ZIP_KINDS,
)

HEAD_BYTES = 4096
"""Number of first bytes that are examined."""


def describe_unreadable(head: bytes) -> str | None:
    """Return what to say about a file that is not read, to follow its name; None for possible rows.

    Args:
        head: the first bytes of the file, or of its unpacked content; HEAD_BYTES of them suffice. A
            compressed format among them is then compressed twice.

    >>> describe_unreadable(b"%PDF-1.7")
    'is a PDF; give a file of Criteo rows'
    """
    head = head[:HEAD_BYTES]
    binary = _has_control_bytes(head)
    for signature in (*SIGNATURES, *PACKED_TWICE):
        if head.startswith(signature.magic, signature.offset) and (binary or not signature.binary):
            return f"is {signature.name}; {signature.advice}"
    if PICKLE_TEXT.match(head):
        return f"is a Python pickle (protocol 0 or 1); {PICKLE_ADVICE}"
    if not binary:
        return _describe_text(head)
    return _describe_binary(head)


def describe_zip(names: Sequence[str]) -> str | None:
    """Return the same for a zip archive of members of these names, such as an Excel workbook."""
    for kind in ZIP_KINDS:
        if kind.only and names and all(re.fullmatch(kind.only, name) for name in names):
            return f"is {kind.name}; {kind.advice}"
        if kind.has and all(
            any(re.fullmatch(pattern, name) for name in names) for pattern in kind.has
        ):
            return f"is {kind.name}; {kind.advice}"
    return None


def _describe_text(head: bytes) -> str | None:
    for pattern in PATTERNS:
        if match := pattern.pattern.match(head):
            shown = (match[1] or b"").decode("utf-8", "replace").strip()
            return f"is {pattern.name}{f' ({shown!r})' if shown else ''}; {pattern.advice}"
    return None


def _describe_binary(head: bytes) -> str | None:
    if not head.strip(b"\x00"):
        return (
            "holds only NUL bytes at its beginning: its download was probably interrupted; fetch it"
            " again"
        )
    for name, width, offset in (
        ("UTF-32", 4, 0),
        ("UTF-32", 4, 3),
        ("UTF-16", 2, 0),
        ("UTF-16", 2, 1),
    ):
        if _is_wide_text(head, width, offset):
            return f"is in {name}; save it as UTF-8"
    if _is_tfrecord(head):
        return f"is a TFRecord file; {CONVERT_ADVICE}"
    return None


def _has_control_bytes(head: bytes) -> bool:
    """Return whether there are bytes that text in UTF-8 or Latin-1 does not contain."""
    return bool(re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head))


def _is_wide_text(head: bytes, width: int, offset: int) -> bool:
    """Return whether this is ASCII text in `width`-byte characters, each 0 except at `offset`."""
    text = head[: len(head) // width * width]
    characters = text[offset::width]
    if len(characters) < 8 or 0 in characters:
        return False
    return all(not any(text[position::width]) for position in range(width) if position != offset)


def _is_tfrecord(head: bytes) -> bool:
    """Return whether it starts with the length of a record and the checksum of that length."""
    if len(head) < 16:
        return False
    length, checksum = struct.unpack_from("<QI", head)
    crc = _crc32c(head[:8])
    return length < 2**32 and checksum == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
