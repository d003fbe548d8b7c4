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
    scored: ArraysByPart,
    rows: TrainingRows,
    data_key: str,
    device: torch.device,
) -> ArraysByPart:
    """Return the click probabilities of every part by the backbone as it is, float32.

    Args:
        workspace: holds the cache.
        card: of the backbone.
        scored: row numbers by part.
        rows: inputs of at least these rows.
        data_key: identifies the content of `rows`, see `apply_frozen_prefix`.
        device: to compute on.
    """
    # The last digits of a score depend on the device and on the number of threads.
    key = hashlib.sha256(
        f"{card.weights_sha256}|{data_key}|{device}|{torch.get_num_threads()}".encode()
    )
    for part, numbers in scored.items():
        key.update(part.encode() + numbers.tobytes())
    folder = workspace.cache / f"scores-{key.hexdigest()[:24]}"

    def fill(entry_folder: Path) -> None:
        scores = score_parts(load_backbone(card).to(device), scored, rows, device)
        for index, part in enumerate(scored):
            np.save(entry_folder / f"{index}.npy", scores[part])

    entry = None
    # A damaged entry is written anew.
    with contextlib.suppress(FileNotFoundError, Damaged):
        entry = read_entry(folder)
    return {
        part: scores.numpy()
        for part, scores in zip(scored, entry or write_entry(folder, fill), strict=True)
    }
