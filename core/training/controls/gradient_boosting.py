"""The control "gradient-boosting": LightGBM on the numerics of the rows.

These are the 13 standardised logs, and the target statistics and counts of the categorical fields,
out of fold for the training rows (core.data.target_statistics). The network "trees" of the zoo
computes the same sums of leaves, so that the fitted model is stored, scored and exported as any
network is.
"""

import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from core.jobs.reporter import Reporter
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.controls.fitted_control import ControlRows, FittedControl
from core.training.controls.lightgbm_library import load_lightgbm
from core.training.loop import CancelledError, FitResult

MAX_TREES, PATIENCE = 5_000, 100
"""Upper bound of the number of trees, and trees without a lower validation loss before it ends."""
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "metric": ["binary_logloss", "auc"],
    "learning_rate": 0.04,
    "num_leaves": 15,
    "max_depth": 8,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
"""Chosen on validation rows of the real sample, see docs/decisions.md."""
ROWS_FOR_THREADS = 20_000
"""Training rows below which threads cost more than they bring."""
MIN_ROWS_PER_LEAF, ROWS_FOR_MIN_DATA = 5, 100
"""Few training rows need smaller leaves: at most a hundredth of the rows, at least 5."""


def fit_gradient_boosting(rows: ControlRows, seed: int, reporter: Reporter) -> FittedControl:
    """Fit trees until the validation loss has not fallen for `PATIENCE` of them.

    Args:
        rows: to fit on, and to choose the number of trees by.
        seed: of the samples of rows and columns that each tree sees.
        reporter: receives the losses after every tree; says when to stop.

    Raises:
        CancelledError: the reporter asked to stop.
    """
    lightgbm = load_lightgbm()

    has_auc = not math.isnan(rows.constant_auc)
    # LightGBM returns the trees up to the best one, and does not say how many it fitted.
    fitted = 0

    def report(env: Any) -> None:
        nonlocal fitted
        if reporter.should_stop():
            raise CancelledError
        fitted = tree = env.iteration + 1
        values = {(part, metric): value for part, metric, value, *_ in env.evaluation_result_list}
        reporter.points(
            [
                (tree, "train_loss", values["train", "binary_logloss"]),
                (tree, "validation_loss", values["validation", "binary_logloss"]),
                # LightGBM says 1 where there is none: validation rows of a single label.
                (tree, "validation_auc", values["validation", "auc"] if has_auc else math.nan),
            ]
        )
        reporter.progress(tree, MAX_TREES, tree, MAX_TREES)

    reporter.points(rows.constant_losses())
    train = _to_dataset(lightgbm, rows.train)
    booster = lightgbm.train(
        booster_parameters(len(rows.train), seed),
        train,
        MAX_TREES,
        valid_sets=[train, _to_dataset(lightgbm, rows.validation, train)],
        valid_names=["train", "validation"],
        callbacks=[
            report,
            lightgbm.early_stopping(PATIENCE, first_metric_only=True, verbose=False),
        ],
    )
    trees = booster.best_iteration or booster.current_iteration()
    settings, network = to_network(booster.dump_model(num_iteration=trees), rows.field_sizes)
    result = FitResult(trees, fitted, fitted < MAX_TREES, best_step=trees, steps_run=fitted)
    learner = (
        f"LightGBM {version('lightgbm')}, {trees:,} trees of up to {PARAMETERS['num_leaves']}"
        " leaves, as many as gave the lowest validation loss"
    )
    return FittedControl(network, "trees", settings, HeadSettings(), result, learner)


def booster_parameters(n_rows: int, seed: int) -> dict[str, Any]:
    """Return LightGBM's parameters for this many training rows."""
    least = max(MIN_ROWS_PER_LEAF, n_rows // ROWS_FOR_MIN_DATA)
    return {
        **PARAMETERS,
        "min_data_in_leaf": min(PARAMETERS["min_data_in_leaf"], least),
        "seed": seed,
        "num_threads": torch.get_num_threads() if n_rows >= ROWS_FOR_THREADS else 1,
    }


def _to_dataset(lightgbm: Any, rows: RowTensors, reference: Any = None) -> Any:
    return lightgbm.Dataset(
        rows.state[1].cpu().numpy(),
        rows.labels.cpu().numpy(),
        reference=reference,
        params={"verbose": -1},
    )


def to_network(
    model: Mapping[str, Any], field_sizes: tuple[int, ...]
) -> tuple[dict[str, int], Network]:
    """Return settings and network of the trees in the format of ``Booster.dump_model``.

    LightGBM compares in float64. The inputs are float32, so that the largest float32 up to a
    threshold decides the same way.
    """
    nodes: list[tuple[int, float, float]] = []
    children: list[int] = []

    def add(node: Mapping[str, Any], depth: int) -> tuple[int, int]:
        """Append a node and all below it; return its index and the depth of the deepest leaf."""
        index = len(nodes)
        if "leaf_value" in node:
            nodes.append((0, 0.0, node["leaf_value"]))
            children.extend((index, index))
            return index, depth
        nodes.append((node["split_feature"], node["threshold"], 0.0))
        children.extend((index, index))
        left, left_depth = add(node["left_child"], depth + 1)
        right, right_depth = add(node["right_child"], depth + 1)
        children[2 * index : 2 * index + 2] = [left, right]
        return index, max(left_depth, right_depth)

    placed = [add(tree["tree_structure"], 0) for tree in model["tree_info"]]
    settings = {
        "trees": len(placed),
        "nodes": len(nodes),
        "depth": max(1, *(depth for _, depth in placed)),
    }
    network = build_network("trees", settings, field_sizes, HeadSettings())
    features, thresholds, values = (np.array(column) for column in zip(*nodes, strict=True))
    stage = network.stage_list()[0]
    stage.load_state_dict(
        {
            "roots": torch.tensor([root for root, _ in placed]),
            "features": torch.from_numpy(features.astype(np.int64)),
            "next_nodes": torch.tensor(children),
            "thresholds": torch.from_numpy(floor_to_float32(thresholds)),
            "values": torch.from_numpy(values.astype(np.float32)),
        }
    )
    return settings, network.eval()


def floor_to_float32(values: np.ndarray) -> np.ndarray:
    """Return the largest float32 that is not above each float64.

    >>> floor_to_float32(np.array([0.5, 0.1])).tolist() <= [0.5, 0.1]
    True
    """
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)
