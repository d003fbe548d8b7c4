"""Uploads as files of ours, under names that the server makes: a browser's file name never becomes
a path."""

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
from pages.components.shared.common import escape_markdown, format_bytes, workspace
from pages.server.upload_limit import UPLOADERS, forget_upload, session_id

_OLD_NAME = "[0-9a-f]" * 16
"""What versions up to 0.10.0 made up for the name of a copy."""


def upload_field(
    label: str, key: str, kind: str, help: str, suffixes: Sequence[str] = (), delete: bool = False
) -> tuple[Path, str] | None:
    """(our copy, its own name) of one uploaded file, None as long as there is none; the copy
    outlives reruns.

    suffixes: endings it may have, all when empty; the copy gets the first that fits, else the last.
    delete: whether the copy goes when another file is chosen; else a run that has been launched may
    still read it.
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
        (one for one in suffixes if uploaded.name.lower().endswith(one)),
        suffixes[-1] if suffixes else "",
    )
    st.session_state[key] = (save_upload(uploaded, kind, suffix), uploaded.name, uploaded.size)
    forget_upload(uploaded)
    # A new widget next time, since the old one's file is no longer in memory.
    st.session_state[f"{key}_times"] = times + 1
    st.rerun()
    return None


def file_uploader(
    label: str, endings: Sequence[str] | None, key: str, help: str
) -> UploadedFile | None:
    """st.file_uploader for one file, and the server told that this session may upload; why not,
    where it may not.

    None as long as there is no file. Every uploader of the app is drawn here.
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
    """Copies an upload into the workspace as KIND-<made up>SUFFIX; `suffix` is one of ours, never
    the file's own.

    It is held as long as the session lives. Copies of the same kind whose session has ended go on
    the way, unless a run may still read them.
    """
    require_writable()
    needed = {
        run.pretrain_request.start_file
        for run in RunStore(workspace()).list(kind="pretrain")
        if run.active or run.status in RESUMABLE_STATUSES
    }
    earlier = {
        *workspace().uploads.glob(f"{kind}-{_OLD_NAME}"),
        *workspace().uploads.glob(f"{kind}-{_OLD_NAME}.*"),
    }
    left = {*workspace().uploads.glob(f"{kind}-*")} - earlier
    remove_legacy_files(one for one in earlier if str(one) not in needed)
    remove_unheld(one for one in left if str(one) not in needed)
    path = workspace().uploads / f"{kind}-{secrets.token_hex(12)}{suffix}"
    st.session_state[f"held {path.name}"] = copy_upload(uploaded, path)
    return path


def copy_upload(uploaded: UploadedFile, path: Path) -> HeldFile:
    """Copies an upload to `path`, held from the start; a disk that fills up on the way keeps
    nothing of it."""
    held = []

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            shutil.copyfileobj(uploaded, stream, 2**20)
        held.append(HeldFile(part))

    write_atomic(path, write)
    return held[0]
