"""Errors of a reader process as JSON and back; nothing is ever unpickled."""

import os
import traceback
from pathlib import Path
from typing import Any

from core.data.archives.member_choice import Member, MemberNeeded
from core.data.read_options import ColumnSource
from core.data.reading.columns_needed import ColumnsNeeded
from core.error_kinds import is_out_of_memory
from core.errors import BadInput, ReaderFailed, ThawError, UnreadableRow
from core.files.typed_json import from_json, to_json

_MESSAGE_ERRORS: dict[str, type[ThawError]] = {
    one.__name__: one for one in (ThawError, BadInput, UnreadableRow)
}
"""Errors that consist of their message only."""
_NO_THREAD_MESSAGE = "can't start new thread"
"""Python's message when there is no memory for the stack of another thread."""


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Return what `error_from_json` needs to build the error again in another process."""
    if isinstance(error, ColumnsNeeded):
        names = ("reason", "advice", "names", "examples", "proposal", "usable")
        return {"kind": "ColumnsNeeded", **{name: to_json(getattr(error, name)) for name in names}}
    if isinstance(error, MemberNeeded):
        return {"kind": "MemberNeeded", "message": str(error), "members": to_json(error.members)}
    if isinstance(error, ThawError):
        kind = next(one.__name__ for one in type(error).__mro__ if one.__name__ in _MESSAGE_ERRORS)
        return {"kind": kind, "message": str(error)}
    if is_out_of_memory(error) or (
        isinstance(error, RuntimeError) and str(error) == _NO_THREAD_MESSAGE
    ):
        return {"kind": "memory"}
    if isinstance(error, OSError):
        files = [
            None if name is None else os.fsdecode(name)
            for name in (error.filename, error.filename2)
        ]
        message = str(error) if error.errno is None else str(error.strerror)
        return {"kind": "OSError", "errno": error.errno, "message": message, "files": files}
    trace = "".join(traceback.format_exception(error))
    return {
        "kind": "unexpected",
        "type": type(error).__name__,
        "message": str(error),
        "traceback": trace,
    }


def error_from_json(values: dict[str, Any], path: Path, memory: int) -> Exception:
    """Build the error that `error_to_json` described.

    Args:
        values: the description.
        path: the file that was read, for messages.
        memory: memory limit of the reader in bytes, for messages.

    Returns:
        The same error, or a ReaderFailed for an unexpected one and for a lack of memory.
    """
    kind = values.get("kind")
    if kind == "ColumnsNeeded":
        return ColumnsNeeded(
            from_json(str, values["reason"]),
            from_json(str, values["advice"]),
            from_json(tuple[str, ...], values["names"]),
            from_json(tuple[tuple[str, ...], ...], values["examples"]),
            from_json(dict[str, ColumnSource], values["proposal"]),
            from_json(bool, values["usable"]),
        )
    if kind == "MemberNeeded":
        return MemberNeeded(
            from_json(str, values["message"]), from_json(tuple[Member, ...], values["members"])
        )
    if kind in _MESSAGE_ERRORS:
        return _MESSAGE_ERRORS[kind](from_json(str, values["message"]))
    if kind == "memory":
        return ReaderFailed(
            f"{path.name!r} needs more than {memory / 2**30:,.1f} GB of memory to be read, which is"
            " what this machine can give it; split it into smaller parts, or read it on a machine"
            " with more memory.",
            "no memory",
        )
    if kind == "OSError":
        return _os_error(values)
    name, message = from_json(str, values["type"]), from_json(str, values["message"])
    shown = message.strip().splitlines()[0][:160] if message.strip() else name
    return ReaderFailed(
        f"{path.name!r} cannot be read ({shown}): it is damaged, or in a format that is not"
        " supported; write it again.",
        name,
    )


def _os_error(values: dict[str, Any]) -> OSError:
    number, message = from_json(int | None, values["errno"]), from_json(str, values["message"])  # type: ignore[arg-type]
    first, second = from_json(tuple[str | None, str | None], values["files"])
    if number is None:
        return OSError(message)
    return OSError(number, message, first, None, second)
