"""Several finished runs side by side: ROC, metrics with intervals, freeze depth, verdicts, differing settings."""

import itertools
import math
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import list_datasets
from core.evaluation.delong import compare
from core.evaluation.multiplicity import holm
from core.models.library import list_backbones
from core.report.compare_figures import (
    Bar,
    DepthPoint,
    backbone_depths_figure,
    depth_figure,
    metric_bars,
    roc_overlay,
)
from core.runs.store import Run
from pages.components.chart import chart
from pages.components.common import simulated_badge, workspace
from pages.components.one_threshold import one_threshold, settings_and_results
from pages.components.result import curves, predictions_of
from pages.components.run_table import strategy_of

MOST_PAIRS = 15


def side_by_side(runs: list[Run]) -> None:
    """Everything that compares `runs`; those not done are left out and named."""
    done = [run for run in runs if run.status == "done" and run.result and "target_test" in run.result["metrics"]]
    if len(done) < len(runs):
        st.caption(f"{len(runs) - len(done)} of the chosen runs are not done, or score no clicks: left out below.")
    if not done:
        st.info("Tick finished runs in the table to lay them side by side.", icon=":material/check_box:")
        return
    if len({run.dataset for run in done}) > 1:
        st.warning(
            "The chosen runs were tested on different datasets: their metrics stand on different rows.",
            icon=":material/warning:",
        )
    datasets = [dataset for dataset in list_datasets(workspace()) if dataset.id in {run.dataset for run in done}]
    if any(dataset.simulated for dataset in datasets):
        simulated_badge()
    labels = short_labels(done)
    left, right = st.columns(2)
    with left:
        st.markdown("**Freeze depth against AUC**")
        if len(backbones := backbone_names(done)) > 1:
            _depth_by_backbone(done, backbones)
        else:
            _depth(done)
        st.markdown("**ROC on target test rows**")
        _roc(done, labels)
    with right:
        st.markdown("**AUC on target test rows**")
        _bars(done, labels, "auc", "AUC, 95 % interval (DeLong)")
        st.markdown("**Log loss on target test rows** :gray[· lower is better]")
        _bars(done, labels, "log_loss", "Log loss (nats)")
    if len(done) > 1:
        st.markdown("**What the numbers allow to say**")
        _verdicts(done, labels)
        st.markdown("**Settings that differ**")
        _differences(done, labels)
        settings_and_results(done)
    if len({run.dataset for run in done}) == 1:
        st.subheader("One threshold for all")
        st.fragment(one_threshold)(done, labels)


def backbone_names(runs: list[Run]) -> dict[str, str]:
    """Names of the backbones that `runs` fine-tuned, by id; the id itself for one that is gone."""
    names = {card.id: card.name for card in list_backbones(workspace())}
    ids = [run.request["backbone"] for run in runs if run.kind == "finetune"]
    return {one: names.get(one, one) for one in dict.fromkeys(ids)}


def short_labels(runs: list[Run]) -> dict[str, str]:
    """A label per run: its strategy, with what tells runs of the same strategy apart."""
    names = backbone_names(runs)

    def plain(run: Run) -> str:
        name = names.get(run.request.get("backbone", "")) if len(names) > 1 else run.request.get("name")
        return f"{name}, {strategy_of(run)}" if name else strategy_of(run)

    labels = {}
    for run in runs:
        label = plain(run)
        same = [other for other in runs if plain(other) == label]
        if len(same) > 1:
            seeds = {other.request["train"]["seed"] for other in same}
            label += f", seed {run.request['train']['seed']}" if len(seeds) == len(same) else f", {run.id}"
        labels[run.id] = label
    return labels


def _depth(runs: list[Run]) -> None:
    points: dict[str, list[DepthPoint]] = {"target_test": [], "source_test": []}
    references = {}
    for run in runs:
        assert run.result is not None
        strategy = run.request.get("strategy")
        if strategy in ("scratch", "zero-shot"):
            references[strategy] = run.result["metrics"]["target_test"]["auc"]
        elif strategy is not None:
            depth = sum(stage["frozen"] for stage in run.result["stages"])
            for part, found in points.items():
                if part in run.result["metrics"]:
                    metrics = run.result["metrics"][part]
                    found.append(DepthPoint(depth, run.name, metrics["auc"], metrics["auc_low"], metrics["auc_high"]))
    figure = depth_figure(points["target_test"], points["source_test"], references)
    chart(figure, "compare-depth", 360, "AUC by freeze depth on target and source test rows")


def _depth_by_backbone(runs: list[Run], names: dict[str, str]) -> None:
    lines: dict[str, list[DepthPoint]] = {}
    for run in runs:
        assert run.result is not None
        if run.request.get("strategy") in ("scratch", "zero-shot", None):
            continue
        metrics = run.result["metrics"]["target_test"]
        depth = sum(stage["frozen"] for stage in run.result["stages"])
        point = DepthPoint(depth, run.name, metrics["auc"], metrics["auc_low"], metrics["auc_high"])
        lines.setdefault(names[run.request["backbone"]], []).append(point)
    chart(
        backbone_depths_figure(lines), "compare-backbones", 360, "AUC on target test rows by freeze depth, by backbone"
    )
    st.caption("Target test rows alone, without controls: choose runs of one backbone to see those.")


def _roc(runs: list[Run], labels: dict[str, str]) -> None:
    overlay = {}
    for run in runs:
        path = workspace().runs / run.id / "predictions.npz"
        overlay[run.id] = (labels[run.id], curves(str(path), path.stat().st_mtime_ns, "target_test", "score")[1])
    chart(roc_overlay(overlay), "compare-roc", 400, "ROC curves of the chosen runs on target test rows")


def _bars(runs: list[Run], labels: dict[str, str], metric: str, title: str) -> None:
    bars = []
    for run in runs:
        assert run.result is not None
        values = run.result["metrics"]["target_test"]
        low, high = (values[f"{metric}_{end}"] if metric == "auc" else math.nan for end in ("low", "high"))
        bars.append(Bar(labels[run.id], run.id, values[metric], low, high))
    chart(metric_bars(bars, title), f"compare-{metric}", max(220, 80 + 34 * len(bars)), f"{title} of the chosen runs")


def _verdicts(runs: list[Run], labels: dict[str, str]) -> None:
    pairs = [pair for pair in itertools.combinations(runs, 2) if pair[0].dataset == pair[1].dataset]
    ranked = sorted(pairs, key=lambda pair: -abs(_auc(pair[0]) - _auc(pair[1])))
    rows = []
    for a, b in ranked[:MOST_PAIRS]:
        first, second = (a, b) if _auc(a) >= _auc(b) else (b, a)
        x, y = predictions_of(first), predictions_of(second)
        difference = compare(x["target_test_label"], x["target_test_score"], y["target_test_score"])
        rows.append((first, second, difference, len(x["target_test_label"])))
    adjusted = holm([row[2].p for row in rows])
    table = [
        {
            "Better by AUC": labels[first.id],
            "Other": labels[second.id],
            "Verdict": "better" if p < 0.05 else f"not distinguishable at n = {n:,}",
            "ΔAUC": f"{difference.delta:+.4f}",
            "95 % interval": f"{difference.low:+.4f} to {difference.high:+.4f}",
            "Adjusted p": "< 0.0001" if p < 1e-4 else f"{p:.4f}",
        }
        for (first, second, difference, n), p in zip(rows, adjusted, strict=True)
    ]
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        width="stretch",
        height="content",
        column_config={"Verdict": st.column_config.TextColumn(width="large")},
        alt="Differences in AUC between pairs of runs",
    )
    more = f" The {MOST_PAIRS} largest of {len(pairs)} differences are shown." if len(pairs) > MOST_PAIRS else ""
    st.caption(
        f"DeLong's test on the same target test rows, p-values adjusted by Holm over the pairs shown.{more} One seed a "
        "run: the noise of training is not in these intervals."
    )


def _differences(runs: list[Run], labels: dict[str, str]) -> None:
    flat = {run.id: _flatten(run.request) for run in runs}
    backbones = backbone_names(runs)
    for settings in flat.values():
        if "backbone" in settings:
            settings["backbone"] = backbones[settings["backbone"]]
    names = dict.fromkeys(name for settings in flat.values() for name in settings)
    rows = [
        {"Setting": name, **{labels[run_id]: _text(settings.get(name)) for run_id, settings in flat.items()}}
        for name in names
        if len({_text(settings.get(name)) for settings in flat.values()}) > 1
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", height="content")
    else:
        st.caption("None: these runs were asked for with the same settings.")


def _flatten(request: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in request.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name} · ")
        elif name != "group":
            flat[f"{prefix}{name}".replace("_", " ")] = value
    return flat


def _text(value: object) -> str:
    return "–" if value is None else str(value)


def _auc(run: Run) -> float:
    assert run.result is not None
    return float(run.result["metrics"]["target_test"]["auc"])
