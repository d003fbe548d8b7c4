"""Inline scripts that pages put into the browser: the Content-Security-Policy allows these by their
hash alone."""

SCROLL_TO_TOP = """document.querySelector('[data-testid="stMain"]').scrollTo(0, 0)"""
"""Scrolls the page up. A page that stays the same to Streamlit stays scrolled as far as it was."""

INLINE_SCRIPTS = (SCROLL_TO_TOP,)
