"""Learning from rows without labels: replaced and masked features (Lin et al.: MAP, KDD 2023)."""

from collections.abc import Sequence
from pathlib import Path

from core.models.network import Network
from core.runs.reporter import Reporter
from core.training.loop import FitResult, Rows
from core.training.settings import PretrainRequest


def learn_features(
    network: Network,
    request: PretrainRequest,
    field_sizes: Sequence[int],
    train: Rows,
    validation: Rows,
    reporter: Reporter,
    checkpoint: Path,
) -> tuple[FitResult, dict[str, float]]:
    """Trains the stages of `network` in place by the request's objective; the head is left as it was.

    Gives how training ended and what it reached on the validation rows, by title.
    """
    raise NotImplementedError(request.objective)
