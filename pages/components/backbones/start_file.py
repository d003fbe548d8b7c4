"""The file that initial weights are read from: uploaded, and stored under a generated name."""

from core.models.objectives import INITIALISATIONS
from pages.components.shared.uploads import upload_field

SUFFIXES = {"vectors": (".txt.gz", ".gz", ".txt"), "weights": (".weights.h5", ".h5")}
"""Extensions of the file; the copy gets the first that matches, because readers decide by it."""


def start_file(start: str) -> str:
    """Return the path of our copy of the file for `start`; "" as long as there is none."""
    help_text = "The initial weights of the stages are read from this file; it is never unpickled."
    copied = upload_field(
        INITIALISATIONS[start].file_type, f"start_file_{start}", "start", help_text, SUFFIXES[start]
    )
    return str(copied[0]) if copied else ""
