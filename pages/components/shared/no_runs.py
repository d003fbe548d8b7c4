"""The message of a page that needs runs, before there are any."""

import streamlit as st


def show_no_runs(words: str) -> None:
    """Show the message, with links to the pages where runs are started."""
    st.info(words, icon=":material/info:")
    with st.container(horizontal=True):
        st.page_link("home.py", label="Run the demo", icon=":material/home:")
        st.page_link("finetune.py", label="Launch a run", icon=":material/ac_unit:")
