"""Uploads as files of ours, under names that the server makes: a browser's file name never becomes a path."""

import secrets
import shutil
import time
from pathlib import Path

from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.runs.store import RESUMABLE, RunStore
from core.workspace import write_atomic
from pages.components.common import workspace

STALE_SECONDS = 24 * 3600


def keep_upload(uploaded: UploadedFile, kind: str, suffix: str) -> Path:
    """Copies an upload into the workspace as KIND-<made up>SUFFIX; `suffix` is one of ours, never the file's own.

    Copies of the same kind that nobody came back for in a day go on the way, unless a run may still read them.
    """
    needed = {
        run.request.get("start_file")
        for run in RunStore(workspace()).list(kind="pretrain")
        if run.active or run.status in RESUMABLE
    }
    for left in workspace().uploads.glob(f"{kind}-*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS and str(left) not in needed:
            left.unlink(missing_ok=True)
    path = workspace().uploads / f"{kind}-{secrets.token_hex(8)}{suffix}"
    write_upload(uploaded, path)
    return path


def write_upload(uploaded: UploadedFile, path: Path) -> None:
    """Copies an upload to `path`; a disk that fills up on the way keeps nothing of it."""

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            shutil.copyfileobj(uploaded, stream, 2**20)

    write_atomic(path, write)
