"""Figures for plotly, tables, and the HTML report."""
