"""Paths of files as people type or paste them."""

import contextlib
import os
import re
import stat
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from core.errors import BadInput

MAX_SHOWN_LENGTH = 200
"""Characters of a path that a message shows."""
_QUOTE_PAIRS = ('""', "''", "“”", "‘’", "«»", "``", "<>")
_REMOTE = re.compile(
    r"(https?|ftp|s3|s3a|gs|hdfs|abfss?|wasbs?|az|ssh|sftp|dbfs)://", re.IGNORECASE
)
_EXTENSIONS = (
    "tsv",
    "csv",
    "txt",
    "parquet",
    "feather",
    "arrow",
    "tar",
    "gz",
    "zip",
    "zst",
    "tgz",
    "bz2",
    "xz",
)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def clean_path(text: str) -> Path:
    """Return the path that `text` names.

    Surrounding spaces and quotation marks are removed, ``~`` is the home folder, file:// URLs work.

    Raises:
        BadInput: there is no text, or a URL of another machine, which Thaw does not fetch.

    >>> clean_path(' "/data/train.txt" ')
    PosixPath('/data/train.txt')
    """
    cleaned = text.strip().strip("\u200b\ufeff")
    while len(cleaned) > 1 and cleaned[0] + cleaned[-1] in _QUOTE_PAIRS:
        cleaned = cleaned[1:-1].strip()
    if not cleaned:
        raise BadInput(f"{text!r} names no file; give the path of a file of rows on this machine.")
    if _REMOTE.match(cleaned):
        raise BadInput(
            f"{cleaned[:120]!r} is a URL on another machine, and Thaw reads only files on this"
            " one: download the file first (for instance with curl -O or the storage's own tool),"
            " then name the path it has here."
        )
    if cleaned.lower().startswith("file:"):
        cleaned = _path_of_file_url(cleaned)
    if _DRIVE.match(cleaned) and not os.path.exists(cleaned):  # noqa: PTH110
        raise BadInput(
            f"{cleaned[:120]!r} is a Windows path, and Thaw runs on another system; name the"
            " file's path there."
        )
    path = Path(cleaned)
    with contextlib.suppress(RuntimeError):
        # Raised for the home of an unknown user; the path is then used as it is.
        path = path.expanduser()
    # os.path.exists returns False where Path.exists raises: for a name that is too long, or a link
    # to itself.
    if not os.path.exists(path) and "\\ " in cleaned:  # noqa: PTH110
        # A file dragged into a terminal has backslashes before its spaces.
        path = Path(str(path).replace("\\ ", " "))
    return path


def check_input(path: Path, what: str, or_folder: bool = False) -> None:
    """Raise BadInput unless `path` is a regular file that may be read.

    Only a regular file is opened: a pipe would block, and a device may never end.

    Args:
        path: the path.
        what: what is expected, such as "backbone", for messages.
        or_folder: whether a folder is accepted as well.
    """
    name = format_path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except FileNotFoundError:
        link = " (a broken link)" if path.is_symlink() else ""
        kind = "file or folder" if or_folder else "file"
        raise BadInput(
            f"There is no {kind} {name} on this machine{link}; check the path of the {what}."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"The {what} {name} cannot be read ({reason}); check the path.") from error
    if not stat.S_ISREG(mode) and not (or_folder and stat.S_ISDIR(mode)):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise BadInput(f"The {what} {name} is {found}, not a file; name a file.")


def format_path(path: Path) -> str:
    """Return a path for a message; a very long one is cut."""
    text = str(path)
    return repr(text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…")


def _path_of_file_url(address: str) -> str:
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost", "127.0.0.1"):
        raise BadInput(
            f"{address[:120]!r} is a file on the machine {parts.netloc!r}; name a file on this one."
        )
    return unquote(parts.path)


def name_from_file(file_name: str) -> str:
    """Return a sample name made from a file's name.

    Its endings are left out, and so is everything that a name may not contain.

    >>> name_from_file("day_0.tsv.gz")
    'day_0'
    """
    endings = "|".join(_EXTENSIONS)
    stem = re.sub(rf"(\.({endings}))+$", "", PurePath(file_name).name, flags=re.IGNORECASE)
    return re.sub(r"[^\w .,()+%=-]", " ", stem).strip(" ._-,()+%=")[:64].strip() or "Sample"
