"""The file that a start reads: uploaded, kept under a name of the server's making, and named in the
request."""

from core.models.objectives import INITIALISATIONS
from pages.components.shared.uploads import upload_field

SUFFIXES = {"vectors": (".txt.gz", ".gz", ".txt"), "weights": (".weights.h5", ".h5")}
"""Endings a start's file may have; the copy gets the first that fits, since readers go by it."""


def start_file(start: str) -> str:
    """Path of our copy of the file for `start`; "" as long as there is none."""
    about = "What the stages hold before they train is read from it; it is never unpickled."
    copied = upload_field(
        INITIALISATIONS[start].file_type, f"start_file_{start}", "start", about, SUFFIXES[start]
    )
    return str(copied[0]) if copied else ""
