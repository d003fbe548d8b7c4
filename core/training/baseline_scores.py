"""Scores of a backbone before fine-tuning, computed once for all runs on the same rows."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import torch

from core.errors import Damaged
from core.models.backbone import load_backbone
from core.models.card import BackboneCard
from core.training.prefix_cache import read_entry, write_entry
from core.training.results import ArraysByPart, score_parts
from core.training.training_rows import TrainingRows
from core.workspace import Workspace


def baseline_scores(
    workspace: Workspace,
    card: BackboneCard,
    rows: ArraysByPart,
    table: TrainingRows,
    data_key: str,
    device: torch.device,
) -> ArraysByPart:
    """Return the click probabilities of every part by the backbone as it is, float32.

    Args:
        workspace: holds the cache.
        card: of the backbone.
        rows: row numbers by part.
        table: inputs of the rows.
        data_key: identifies the content of `table`, see `apply_frozen_prefix`.
        device: to compute on.
    """
    # The last digits hang on the device and on the number of threads.
    key = hashlib.sha256(
        f"{card.weights_sha256}|{data_key}|{device}|{torch.get_num_threads()}".encode()
    )
    for part, index in rows.items():
        key.update(part.encode() + index.tobytes())
    folder = workspace.cache / f"scores-{key.hexdigest()[:24]}"

    def fill(empty: Path) -> None:
        scores = score_parts(load_backbone(card).to(device), rows, table, device)
        for place, part in enumerate(rows):
            np.save(empty / f"{place}.npy", scores[part])

    entry = None
    with contextlib.suppress(FileNotFoundError, Damaged):
        entry = read_entry(folder)
    return {
        part: scores.numpy()
        for part, scores in zip(rows, entry or write_entry(folder, fill), strict=True)
    }
