"""Read files in batches in children of core.data.reading.reader_server, and record each outcome."""

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.reading import reader_process, textblocks
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.dialects import detect_format
from core.data.reading.read_rows import (
    RowsRequest,
    detect_file_format,
    read_file_rows,
    read_rows_job,
)
from core.data.reading.reader_server import SendEvent
from core.errors import BadInput, ReaderFailed, ThawError
from core.files.typed_json import to_json


@dataclass(frozen=True)
class ReadOutcome:
    """How reading a file ended; `outcome` is "rows", a sentence, or "!" and an unexpected error."""

    seed: int
    outcome: str
    seconds: float
    rows: int = 0
    bad: int = 0
    died: str = ""


def batch_job(request: dict[str, Any], tell: SendEvent) -> None:
    """Read one file after the other, and report before and after each.

    The function runs in the reader's child process.
    """
    for file in request["files"]:
        tell({"begun": file["seed"]})
        began = time.monotonic()
        textblocks.BLOCK_BYTES = file["block"]
        path, folder = Path(file["path"]), Path(file["folder"])
        answer: dict[str, Any] = {"rows": 0, "bad": 0}
        try:
            rows_request = RowsRequest(
                str(path), str(folder), detect_format(path), file["skip"], "required"
            )
            rows = read_rows_job(to_json(rows_request), lambda event: None)
            answer |= {"outcome": "rows", "rows": rows["rows"], "bad": rows["bad_rows"]}
        except ThawError as error:
            answer["outcome"] = f"{'?' if isinstance(error, ColumnsNeeded) else ''}{error}"
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            answer["outcome"] = (
                f"!{type(error).__name__}: {error} at {Path(frame.filename).name}:{frame.lineno}"
            )
        tell({"ended": file["seed"], "seconds": time.monotonic() - began, **answer})


def read_all(files: list[dict[str, Any]]) -> list[ReadOutcome]:
    """Return the outcome of each file.

    A file that ended the child is "!", unless reading it alone gives a sentence.
    """
    outcomes: dict[int, ReadOutcome] = {}
    while left := [file for file in files if file["seed"] not in outcomes]:
        begun: list[int] = []

        def note(event: Any) -> None:
            if "begun" in event:
                begun.append(event["begun"])  # noqa: B023
            else:
                seed = event["ended"]
                outcomes[seed] = ReadOutcome(
                    seed, event["outcome"], event["seconds"], event["rows"], event["bad"]
                )

        try:
            reader_process.call(batch_job, Path("a batch of files"), {"files": left}, note)
        except ReaderFailed as error:
            if not begun:
                raise
            last = next(file for file in left if file["seed"] == begun[-1])
            outcomes[last["seed"]] = _read_alone(last, error.cause)
    return [outcomes[file["seed"]] for file in files]


def _read_alone(file: dict[str, Any], cause: str) -> ReadOutcome:
    """Read a file that ended its child once more, as `ingest` reads it."""
    began = time.monotonic()
    path, folder = Path(file["path"]), Path(file["folder"])
    try:
        form = detect_file_format(path)
        read_file_rows(
            path, form, folder, file["skip"], "required", lambda share: None, lambda: False
        )
        outcome = "rows"
    except BadInput as error:
        outcome = str(error)
    except Exception as error:
        outcome = f"!{type(error).__name__}: {error}"
    return ReadOutcome(file["seed"], outcome, time.monotonic() - began, died=cause)
