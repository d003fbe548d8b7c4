"""The file that a start reads: uploaded, kept under a name of the server's making, and named in the request."""

import streamlit as st

from core.training.objectives import STARTS
from pages.components.common import bytes_text, escape_markdown
from pages.components.uploads import keep_upload

SUFFIXES = {"vectors": (".txt.gz", ".gz", ".txt"), "weights": (".weights.h5", ".h5")}
"""Endings a start's file may have; the copy gets the first that fits, since readers go by it."""


def start_file(start: str) -> str:
    """Path of our copy of the file for `start`; "" as long as there is none."""
    key = f"start_file_{start}"
    kept = st.session_state.get(key)
    if kept:
        path, name, size = kept
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/attach_file: **{escape_markdown(name)}** :gray[{bytes_text(size)}]", width="stretch"
            )
            st.button("Take another", key=f"{key}_drop", icon=":material/close:", on_click=_drop, args=(key,))
        return path
    times = st.session_state.setdefault(f"{key}_times", 0)
    endings = sorted({suffix.rpartition(".")[2] for suffix in SUFFIXES[start]})
    uploaded = st.file_uploader(STARTS[start].file, type=endings, key=f"{key}_{times}")
    if uploaded is None:
        return ""
    suffix = next((one for one in SUFFIXES[start] if uploaded.name.lower().endswith(one)), SUFFIXES[start][-1])
    st.session_state[key] = (str(keep_upload(uploaded, "start", suffix)), uploaded.name, uploaded.size)
    # A new widget next time: the old one's buffer would stay in memory.
    st.session_state[f"{key}_times"] = times + 1
    st.rerun()
    return ""


def _drop(key: str) -> None:
    st.session_state.pop(key, None)
