"""Inline scripts of the pages: the Content-Security-Policy allows only these, by their hash."""

SCROLL_TO_TOP = """document.querySelector('[data-testid="stMain"]').scrollTo(0, 0)"""
"""Scrolls to the top: Streamlit keeps the scroll position while the page stays the same."""

INLINE_SCRIPTS = (SCROLL_TO_TOP,)
