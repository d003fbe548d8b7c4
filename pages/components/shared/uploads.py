"""Uploads as files of ours under generated names: a browser's file name never becomes a path."""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.files.held_files import HeldFile, remove_legacy_files, remove_unheld
from core.jobs.store import RESUMABLE_STATUSES, RunStore
from core.read_only import require_writable
from core.workspace import write_atomic
from pages.components.shared.access import lock_reason
from pages.components.shared.common import workspace
from pages.components.shared.formatting import escape_markdown, format_bytes
from pages.server.upload_limit import UPLOADERS, forget_upload, session_id

_OLD_NAME = "[0-9a-f]" * 16
"""Random part of a copy's name in versions up to 0.10.0, a glob pattern."""


def upload_field(
    label: str, key: str, kind: str, help: str, suffixes: Sequence[str] = (), delete: bool = False
) -> tuple[Path, str] | None:
    """Draw an uploader for one file and keep a copy that outlives reruns.

    Args:
        suffixes: accepted endings, all if empty; the copy gets the first that matches, else the
            last.
        delete: whether the copy is deleted when another file is chosen; otherwise a launched run
            may still read it.

    Returns:
        (path of our copy, the file's own name), or None as long as there is no file.
    """
    copied: tuple[Path, str, int] | None = st.session_state.get(key)
    if copied and copied[0].exists():
        path, name, size = copied
        with st.container(horizontal=True, vertical_alignment="center"):
            words = (
                f":material/attach_file: **{escape_markdown(name)}** :gray[{format_bytes(size)}]"
            )
            st.markdown(words, width="stretch")
            st.button(
                "Choose another",
                key=f"{key}_drop",
                icon=":material/close:",
                on_click=_drop,
                args=(key, delete),
            )
        return path, name
    times = st.session_state.setdefault(f"{key}_times", 0)
    endings = sorted({suffix.rpartition(".")[2] for suffix in suffixes}) or None
    uploaded = file_uploader(label, endings, f"{key}_{times}", help)
    if uploaded is None:
        return None
    suffix = next(
        (candidate for candidate in suffixes if uploaded.name.lower().endswith(candidate)),
        suffixes[-1] if suffixes else "",
    )
    st.session_state[key] = (save_upload(uploaded, kind, suffix), uploaded.name, uploaded.size)
    forget_upload(uploaded)
    # Use a new widget key: the old widget's file is no longer in memory.
    st.session_state[f"{key}_times"] = times + 1
    st.rerun()
    return None


def file_uploader(
    label: str, endings: Sequence[str] | None, key: str, help: str
) -> UploadedFile | None:
    """Draw `st.file_uploader` for one file and register the session as one that may upload.

    All uploaders of the app are drawn here. Where uploads are not allowed, the reason is shown.
    """
    if reason := lock_reason():
        st.info(reason, icon=":material/visibility:")
        return None
    UPLOADERS.on_uploader_drawn(session_id())
    return st.file_uploader(label, type=endings, key=key, help=help)


def _drop(key: str, delete: bool) -> None:
    copied = st.session_state.pop(key, None)
    if copied and delete:
        copied[0].unlink(missing_ok=True)


def save_upload(uploaded: UploadedFile, kind: str, suffix: str) -> Path:
    """Copy an upload into the workspace as KIND-<random>SUFFIX.

    The copy is held while the session lives. Copies of the same kind whose session has ended are
    deleted, unless a run may still read them.

    Args:
        suffix: one of ours, never the file's.
    """
    require_writable()
    needed_paths = {
        run.pretrain_request.start_file
        for run in RunStore(workspace()).list(kind="pretrain")
        if run.active or run.status in RESUMABLE_STATUSES
    }
    old_copies = {
        *workspace().uploads.glob(f"{kind}-{_OLD_NAME}"),
        *workspace().uploads.glob(f"{kind}-{_OLD_NAME}.*"),
    }
    other_copies = {*workspace().uploads.glob(f"{kind}-*")} - old_copies
    remove_legacy_files(copy for copy in old_copies if str(copy) not in needed_paths)
    remove_unheld(copy for copy in other_copies if str(copy) not in needed_paths)
    path = workspace().uploads / f"{kind}-{secrets.token_hex(12)}{suffix}"
    st.session_state[f"held {path.name}"] = copy_upload(uploaded, path)
    return path


def copy_upload(uploaded: UploadedFile, path: Path) -> HeldFile:
    """Copy an upload to `path`, held from the start.

    If the disk fills up, nothing is left behind.
    """
    held = []

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            shutil.copyfileobj(uploaded, stream, 2**20)
        held.append(HeldFile(part))

    write_atomic(path, write)
    return held[0]
