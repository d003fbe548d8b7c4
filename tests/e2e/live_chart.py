"""Entry of a small app for test_chart.py: a chart that a fragment redraws with more points, as the
page Run does."""

from pathlib import Path

import streamlit as st

from app import PLOTLY_ROUTE

app = st.App(Path(__file__).with_name("live_chart_page.py"), routes=[PLOTLY_ROUTE])
