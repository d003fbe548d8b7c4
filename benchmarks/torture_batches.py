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
    """Read one file after the other, reporting before and after each; runs in the reader's
    child."""
    for one in request["files"]:
        tell({"begun": one["seed"]})
        began = time.monotonic()
        textblocks.BLOCK_BYTES = one["block"]
        path, folder = Path(one["path"]), Path(one["folder"])
        answer: dict[str, Any] = {"rows": 0, "bad": 0}
        try:
            wanted = RowsRequest(
                str(path), str(folder), detect_format(path), one["skip"], "required"
            )
            found = read_rows_job(to_json(wanted), lambda event: None)
            answer |= {"outcome": "rows", "rows": found["rows"], "bad": found["bad_rows"]}
        except ThawError as error:
            answer["outcome"] = f"{'?' if isinstance(error, ColumnsNeeded) else ''}{error}"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            answer["outcome"] = (
                f"!{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"
            )
        tell({"ended": one["seed"], "seconds": time.monotonic() - began, **answer})


def read_all(files: list[dict[str, Any]]) -> list[ReadOutcome]:
    """Return the outcome of each file; one that ended the child is "!" unless it is a sentence
    alone."""
    found: dict[int, ReadOutcome] = {}
    while left := [one for one in files if one["seed"] not in found]:
        begun: list[int] = []

        def note(event: Any) -> None:
            if "begun" in event:
                begun.append(event["begun"])  # noqa: B023
            else:
                seed = event["ended"]
                found[seed] = ReadOutcome(
                    seed, event["outcome"], event["seconds"], event["rows"], event["bad"]
                )

        try:
            reader_process.call(batch_job, Path("a batch of files"), {"files": left}, note)
        except ReaderFailed as error:
            if not begun:
                raise
            last = next(one for one in left if one["seed"] == begun[-1])
            found[last["seed"]] = _read_alone(last, error.cause)
    return [found[one["seed"]] for one in files]


def _read_alone(one: dict[str, Any], cause: str) -> ReadOutcome:
    """Read a file that ended its child once more, as `ingest` reads it."""
    began = time.monotonic()
    path, folder = Path(one["path"]), Path(one["folder"])
    try:
        form = detect_file_format(path)
        read_file_rows(
            path, form, folder, one["skip"], "required", lambda share: None, lambda: False
        )
        outcome = "rows"
    except BadInput as error:
        outcome = str(error)
    except Exception as error:
        outcome = f"!{type(error).__name__}: {error}"
    return ReadOutcome(one["seed"], outcome, time.monotonic() - began, died=cause)
