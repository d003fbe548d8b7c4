"""Score a Criteo file with the model of a finished run."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.data.preprocessing import load_preprocessing
from core.data.read_options import DEFAULT_OPTIONS, ReadOptions
from core.data.reading.ingest import ingest
from core.data.samples import Sample, list_samples, read_dictionary_table
from core.errors import BadInput
from core.evaluation.metrics import compute_metrics
from core.evaluation.recalibration import NONE, RecalibrationMap
from core.files.durable import staging
from core.files.outputs import check_output, write_output
from core.files.typed_json import to_json
from core.inference.blend_members import blended_runs
from core.inference.run_calibration import describe_calibration, used_map
from core.inference.run_model import load_scoring_card
from core.inference.score_drift import (
    load_training_reference,
    measure_drift_from_training,
    score_distribution,
)
from core.inference.scoring import (
    AnyScorer,
    BlendScorer,
    CalibratedScorer,
    FileScores,
    Scorer,
    write_predictions,
)
from core.inference.unknown_summary import unknown_summary
from core.inference.unknown_values import known_shares, unknown_columns
from core.jobs.store import Run
from core.models.backbone import load_backbone
from core.training.devices import choose_device
from core.workspace import Workspace, open_workspace


def score_file(
    workspace: Workspace,
    run: Run,
    path: Path,
    output_path: Path,
    on_bad_rows: str = "reject",
    on_progress: Callable[[float], None] | None = None,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    calibration: str | None = None,
) -> dict[str, Any]:
    """Score a Criteo file, with or without labels, and write the predictions as CSV.

    The file is read into a temporary workspace, of which nothing remains. It may also be the rows
    of a sample of this workspace, which are read where they are. `output_path` is written as a
    whole or not at all; its columns are those of `core.inference.scoring.write_predictions`.

    Args:
        workspace: of the run.
        run: a run that is done and scores clicks.
        path: file to score.
        output_path: CSV file to write.
        on_bad_rows: "reject" the file, or "skip" its bad rows and count them.
        on_progress: called with the share of the work that is done, 0 to 1.
        options: how to read the file.
        calibration: method by which the scores are calibrated, one of
            `core.inference.run_calibration.METHOD_CHOICES`; None for the one that the run uses.

    Returns:
        JSON-ready: `rows` scored, `bad_rows` skipped with `bad_examples`; `labelled` (whether there
        is a label column), `unlabelled_rows` (rows whose label is missing or -1); `notes` of the
        reader; how the `scores` are distributed; `metrics` of the rows with a label, None if there
        are none; `unknown` values (`core.inference.unknown_values`); `drift` from the run's
        training rows (`core.inference.score_drift`), None if they are gone; `calibration`, the map
        that was applied, with its `sentence`.

    Raises:
        BadInput: the run's model does not score clicks, the file cannot be read, or `output_path`
            cannot be written or is the file itself; or a run of a blend was deleted.
    """
    check_output(output_path, [path])
    scorer = load_scorer(workspace, run, calibration)
    used = scorer.calibration if isinstance(scorer, CalibratedScorer) else RecalibrationMap()
    threshold, preprocessing = scorer.threshold, scorer.preprocessing
    report = on_progress or (lambda share: None)
    with staging(workspace.cache) as folder:
        # Reading is the first half of the progress bar, scoring the second.
        read = lambda share: report(share / 2)  # noqa: E731
        sample = _sample_to_score(
            workspace, open_workspace(folder), path, on_bad_rows, options, read
        )
        results: list[FileScores] = []

        def write(part: Path) -> None:
            scoring_done = lambda share: report(0.5 + share / 2)  # noqa: E731
            results.append(write_predictions(part, sample, scorer, scoring_done))

        write_output(output_path, write, [path])
        scored = results[0]
        reference = load_training_reference(workspace, run, preprocessing, used)
        training_counts = reference.counts if reference else None
        columns = unknown_columns(
            preprocessing,
            read_dictionary_table(sample),
            scored.counts,
            known_shares(preprocessing, training_counts),
        )
    drift = None
    if reference:
        drift = measure_drift_from_training(reference, scored.counts, scored.scores, threshold)
    return _summary(run, sample, scored, threshold, output_path) | {
        "unknown": unknown_summary(preprocessing, columns, scored.counts, training_counts),
        "drift": drift,
        "calibration": to_json(used) | {"sentence": describe_calibration(used)},
    }


def load_scorer(workspace: Workspace, run: Run, calibration: str | None = None) -> AnyScorer:
    """Return what scores rows with a run's model, or with the models of a blend's runs.

    Args:
        workspace: of the run.
        run: a run that is done and scores clicks.
        calibration: see `score_file`.

    Raises:
        BadInput: the run is not done, its model does not score clicks, a run of the blend was
            deleted, or the run has no such calibration.
    """
    scorer = _load_uncalibrated_scorer(workspace, run)
    used = used_map(workspace, run, calibration)
    return scorer if used.method == NONE else CalibratedScorer(scorer, used)


def _load_uncalibrated_scorer(workspace: Workspace, run: Run) -> Scorer | BlendScorer:
    if run.kind != "blend":
        return _load_network_scorer(workspace, run)
    if run.result is None or run.result.blend is None or run.result.threshold is None:
        raise BadInput(
            f"Run {run.id} is {run.status}, so it has no weights; wait until it is done or pick"
            " another run."
        )
    members = run.result.blend.runs
    scorers = [
        scorer if member.calibration is None else CalibratedScorer(scorer, member.calibration)
        for one, member in zip(blended_runs(workspace, run), members, strict=True)
        for scorer in [_load_network_scorer(workspace, one)]
    ]
    weights = np.array([member.weight for member in members])
    return BlendScorer(tuple(scorers), weights, run.result.threshold)


def _load_network_scorer(workspace: Workspace, run: Run) -> Scorer:
    card = load_scoring_card(workspace, run)
    assert run.result is not None
    if run.result.threshold is None:
        raise BadInput(
            f"The model of run {run.id} was not trained on click labels, so it cannot score "
            "rows; choose another run."
        )
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    device = choose_device("auto")
    network = load_backbone(card).to(device)
    return Scorer(network, preprocessing, run.result.threshold, device, run.request.train.tf32)


def _sample_to_score(
    workspace: Workspace,
    scratch: Workspace,
    path: Path,
    on_bad_rows: str,
    options: ReadOptions,
    report: Callable[[float], None],
) -> Sample:
    """Return the sample whose rows `path` is, else the file read into the workspace `scratch`."""
    for sample in list_samples(workspace):
        # Not Path.resolve, which raises for a link that leads to itself.
        if os.path.realpath(sample.rows_path) == os.path.realpath(path):
            return sample
    # Columns beyond label, features and id are of no use here.
    options = dataclasses.replace(options, keep=options.keep or ())
    return ingest(
        scratch,
        path,
        "scored",
        on_bad_rows,
        report,
        allow_single_class=True,
        options=options,
        labels="optional",
    )


def _summary(
    run: Run, sample: Sample, scored: FileScores, threshold: float, output_path: Path
) -> dict[str, Any]:
    with_label = np.zeros(sample.rows, bool) if scored.labels is None else scored.labels >= 0
    metrics = None
    if scored.labels is not None and with_label.any():
        metrics = compute_metrics(
            scored.labels[with_label], scored.scores[with_label], threshold
        ).as_dict()
    return {
        "run": run.id,
        "rows": sample.rows,
        "bad_rows": sample.bad_rows,
        "bad_examples": list(sample.bad_examples),
        "labelled": sample.labelled,
        "unlabelled_rows": int((~with_label).sum()),
        "id_column": sample.id_column,
        "notes": list(sample.notes),
        "threshold": threshold,
        "out": str(output_path),
        "scores": score_distribution(scored.scores, threshold),
        "metrics": metrics,
    }
