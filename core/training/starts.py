"""What a network holds before any training: the starts of core.training.objectives, carried out."""

from core.data.preprocessing import Preprocessing
from core.models.network import Network
from core.runs.reporter import Reporter
from core.training.loop import Rows
from core.training.settings import PretrainRequest


def begin(
    network: Network, request: PretrainRequest, preprocessing: Preprocessing, rows: Rows, reporter: Reporter
) -> None:
    """Fills the stages of a fresh `network` as the request's start says; `rows` are the source training rows."""
    if request.start == "random":
        return
    raise NotImplementedError(request.start)
