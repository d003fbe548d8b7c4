"""The path of a file as people type or paste it."""

import contextlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.errors import BadInput

_PAIRS = ('""', "''", "“”", "‘’", "«»", "``", "<>")
_REMOTE = re.compile(r"(https?|ftp|s3|s3a|gs|hdfs|abfss?|wasbs?|az|ssh|sftp|dbfs)://", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def clean_path(text: str) -> Path:
    """The path that `text` names: surrounding spaces and quotation marks go, ``~`` is the home, file:// is local.

    BadInput for nothing at all, and for addresses of other machines, which Thaw does not fetch.

    >>> clean_path(' "/data/train.txt" ')
    PosixPath('/data/train.txt')
    """
    cleaned = text.strip().strip("\u200b\ufeff")
    while len(cleaned) > 1 and cleaned[0] + cleaned[-1] in _PAIRS:
        cleaned = cleaned[1:-1].strip()
    if not cleaned:
        raise BadInput(f"{text!r} names no file; give the path of a file of rows on this machine.")
    if _REMOTE.match(cleaned):
        raise BadInput(
            f"{cleaned[:120]!r} is an address on another machine, and Thaw reads only files on this one: download the "
            "file first (for instance with curl -O or the storage's own tool), then name the path it has here."
        )
    if cleaned.lower().startswith("file:"):
        cleaned = _from_address(cleaned)
    if _DRIVE.match(cleaned) and not Path(cleaned).exists():
        raise BadInput(
            f"{cleaned[:120]!r} is a path of Windows, and Thaw runs on another system; name the file's path there."
        )
    path = Path(cleaned)
    with contextlib.suppress(RuntimeError):
        # Raised for the home of a user there is not; the path is then looked for as it stands.
        path = path.expanduser()
    if not path.exists() and "\\ " in cleaned:
        # Dragged into a terminal, spaces come with a backslash before them.
        path = Path(str(path).replace("\\ ", " "))
    return path


def _from_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost", "127.0.0.1"):
        raise BadInput(f"{address[:120]!r} is a file on the machine {parts.netloc!r}; name a file on this one.")
    return unquote(parts.path)
