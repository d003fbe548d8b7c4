"""A finished run put to use: evaluated on another dataset, scoring a file."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from core.data.datasets import Dataset, require_labels
from core.data.ingest import ingest
from core.data.preprocessing import load_preprocessing
from core.data.profile import drift_counts
from core.data.samples import coded_rows, list_samples
from core.data.schema import LABEL
from core.errors import BadInput
from core.evaluation.metrics import evaluate
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, load_card
from core.models.library import find_backbone
from core.runs.store import Run
from core.training.devices import choose_device
from core.training.feeding import Rows
from core.training.results import SCORED_PARTS, labels_by_part, measure, score_parts, scored_rows, validated_on
from core.training.score_drift import distribution, drift_from, what_it_learnt
from core.training.table import read_table
from core.training.task import predict
from core.workspace import Workspace, open_workspace, write_atomic

BATCH_ROWS = 65536


def model_card(workspace: Workspace, run: Run) -> BackboneCard:
    """The card of the network that `run` ended with; BadInput when it did not end well."""
    if run.status != "done" or run.result is None:
        raise BadInput(f"Run {run.id} is {run.status}, so it has no model; wait until it is done or pick another run.")
    if run.kind == "pretrain":
        return find_backbone(workspace, run.result["backbone"])
    return load_card(workspace.runs / run.id / "model")


def scoring_card(workspace: Workspace, run: Run) -> BackboneCard:
    """`model_card` of a run whose head has learnt clicks; BadInput for any other."""
    card = model_card(workspace, run)
    if not card.scores_clicks:
        raise BadInput(
            f"Run {run.id} made the backbone {card.name!r}, whose head never learnt clicks, so it cannot score rows; "
            "fine-tune the backbone and take that run."
        )
    return card


def evaluate_on(workspace: Workspace, run: Run, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Metrics of the run's model on the dataset's validation and test rows, at the run's own threshold."""
    require_labels(dataset)
    card = scoring_card(workspace, run)
    assert run.result is not None
    if run.result["threshold"] is None:
        raise BadInput(f"The model of run {run.id} has not learnt clicks, so there is nothing to measure.")
    device = choose_device("auto")
    table = read_table(workspace, dataset, card.folder / "preprocessing", ("target_train", *SCORED_PARTS))
    rows = scored_rows(dataset, validated_on(dataset, run))
    scores = score_parts(load_backbone(card).to(device), rows, table, device)
    return measure(labels_by_part(dataset, rows), scores, run.result["threshold"])


def score_file(
    workspace: Workspace,
    run: Run,
    source: Path,
    target: Path,
    on_bad_rows: str = "reject",
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Scores a Criteo file, labels optional, into a CSV: row (from 1), score, predicted_click at the run's threshold.

    The file is read into a temporary workspace, so nothing of it stays behind; it may also be the rows of a sample of
    this workspace, which are read as they are. Rows are those that were read: bad ones
    left out are not numbered. JSON-ready: how many rows; how the scores spread; metrics where the file has labels;
    drift against the run's training rows (core.training.score_drift), None when they are gone.
    BadInput when the run's model has not learnt clicks.
    """
    card = scoring_card(workspace, run)
    assert run.result is not None
    threshold = run.result["threshold"]
    if threshold is None:
        raise BadInput(f"The model of run {run.id} has not learnt clicks, so it cannot score rows; choose another run.")
    report = on_progress or (lambda share: None)
    device = choose_device("auto")
    network = load_backbone(card).to(device)
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    counts, scores, labels = np.zeros(0, dtype=np.int64), [], []
    with tempfile.TemporaryDirectory(dir=workspace.cache, prefix=".part-") as folder:
        known = [one for one in list_samples(workspace) if one.rows_path.resolve() == source.resolve()]
        aside = open_workspace(folder)
        sample = (
            known[0]
            if known
            else ingest(aside, source, "scored", on_bad_rows, lambda share: report(share / 2), one_class_ok=True)
        )

        def write(part: Path) -> None:
            nonlocal counts
            schema = pa.schema([("row", pa.int64()), ("score", pa.float32()), ("predicted_click", pa.int8())])
            done = 0
            with pyarrow.csv.CSVWriter(part, schema) as writer:
                rows = coded_rows(sample)
                for start in range(0, sample.rows, BATCH_ROWS):
                    batch = rows.slice(start, BATCH_ROWS)
                    encoded = preprocessing.encode(batch)
                    state = (torch.from_numpy(encoded.ids).to(device), torch.from_numpy(encoded.numerics).to(device))
                    found = predict(network, Rows(state, torch.zeros(len(encoded.ids), device=device)))
                    row = np.arange(done + 1, done + 1 + len(found))
                    clicks = (found >= threshold).astype(np.int8)
                    writer.write_table(pa.table([row, found, clicks], schema=schema))
                    counts = counts + drift_counts(encoded.ids) if done else drift_counts(encoded.ids)
                    scores.append(found)
                    if sample.labelled:
                        labels.append(batch[LABEL].to_numpy())
                    done += len(found)
                    report(0.5 + done / sample.rows / 2)

        write_atomic(target, write)
    every = np.concatenate(scores)
    learnt = what_it_learnt(workspace, run, preprocessing)
    return {
        "run": run.id,
        "rows": sample.rows,
        "bad_rows": sample.bad_rows,
        "bad_examples": list(sample.bad_examples),
        "threshold": threshold,
        "out": str(target),
        "scores": distribution(every, threshold),
        "metrics": evaluate(np.concatenate(labels), every, threshold).as_dict() if labels else None,
        "drift": drift_from(learnt, counts, every, threshold) if learnt else None,
    }
