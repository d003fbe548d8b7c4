"""The page of live_chart.py."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from pages.components.shared.chart import chart

st.set_page_config(page_title="Live chart", page_icon="assets/icon.svg")


@st.fragment(run_every=0.3)
def live() -> None:
    """One more point at every tick."""
    st.session_state.points = st.session_state.get("points", 20) + 1
    steps = np.arange(st.session_state.points)
    chart(
        go.Figure(go.Scatter(x=steps, y=np.exp(-steps / 40), name="train loss")),
        key="live",
        alt="Loss by step",
    )


def plot() -> None:
    """The chart."""
    st.title("Plot")
    live()


def other() -> None:
    """A page without one."""
    st.title("Other")


pages = [st.Page(plot, title="Plot", default=True), st.Page(other, title="Other")]
st.navigation(pages, position="top").run()
