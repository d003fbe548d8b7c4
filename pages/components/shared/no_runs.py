"""A page that needs runs, before there are any: what to do, and the way there."""

import streamlit as st


def show_no_runs(words: str) -> None:
    """Says what is missing, with links to the two pages that mend it."""
    st.info(words, icon=":material/info:")
    with st.container(horizontal=True):
        st.page_link("home.py", label="Run the demo", icon=":material/home:")
        st.page_link("finetune.py", label="Launch a run", icon=":material/ac_unit:")
