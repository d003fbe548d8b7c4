"""The main script: the list of pages and the frame around every page."""

import streamlit as st

from core.errors import ThawError
from core.workspace import PROJECT, require_workspace_folder
from pages.components.shared.access import show_access_notice, sync_presenter_mode
from pages.components.shared.common import workspace
from pages.components.shared.errors import (
    error_sentence,
    show_damage_notice,
    show_disk_notice,
    show_error,
)
from pages.components.shared.sign_in import require_sign_in
from pages.components.shared.tour import show_tour
from pages.server.upload_limit import UPLOADERS, session_id

PAGES = (
    ("home.py", "Home", ":material/home:", "What Thaw is, what runs now, and the demo."),
    (
        "data.py",
        "Data",
        ":material/table_chart:",
        "Add a Criteo sample, inspect it, split it into domains.",
    ),
    (
        "backbones.py",
        "Backbones",
        ":material/stacks:",
        "Pretrained networks, stage by stage; pretrain your own.",
    ),
    (
        "finetune.py",
        "Fine-tune",
        ":material/ac_unit:",
        "Move the freeze line and launch a fine-tune.",
    ),
    (
        "sweep.py",
        "Sweep",
        ":material/experiment:",
        "Several strategies and seeds, compared with intervals.",
    ),
    (
        "run.py",
        "Run",
        ":material/monitoring:",
        "One run: live curves, then confusion matrix, ROC and calibration.",
    ),
    (
        "score.py",
        "Score",
        ":material/playlist_add_check:",
        "Score a new file with a finished run.",
    ),
    ("compare.py", "Compare", ":material/compare_arrows:", "Runs side by side, with intervals."),
    (
        "learn.py",
        "Learn",
        ":material/school:",
        "The method in four figures from your own run, and a glossary.",
    ),
)

UPLOADERS.on_run_start(session_id())
# Set the icon before st.navigation, which would otherwise load the page's icon from the network.
st.set_page_config(page_icon=str(PROJECT / "assets" / "icon.svg"), layout="wide")
st.logo(str(PROJECT / "assets" / "logo.svg"), size="large")
require_sign_in()
st.html(PROJECT / "assets" / "overrides.css")
page = st.navigation(
    [
        st.Page(file, title=title, icon=icon, help=about, default=file == "home.py")
        for file, title, icon, about in PAGES
    ],
    position="top",
)
st.set_page_config(page_title="Thaw" if page.title == "Home" else f"{page.title} · Thaw")
sync_presenter_mode()
show_access_notice()
show_tour(next(file for file, title, *_ in PAGES if title == page.title))
above = st.container()
shown = []
try:
    require_workspace_folder(workspace())
    page.run()
except Exception as error:
    # An error that no section of the page caught: navigation and notices stay usable.
    sentence = error_sentence(error)
    if sentence is None:
        raise
    shown.append(sentence)
    show_error(ThawError(sentence))
with above:
    if not shown:
        show_disk_notice()
    show_damage_notice(shown)
UPLOADERS.on_run_end(session_id())
