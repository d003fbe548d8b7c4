"""Results of a sweep: its finished runs combined by arm, over its seeds.

What they support is in core.runs.arm_verdicts.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from core.evaluation.format_metrics import (
    MetricValues,
    is_missing,
    metric_or_none,
    metric_value,
    missing_sentence,
)
from core.evaluation.metric_registry import metrics_shown_in
from core.freezing.strategies import (
    control_titles,
    describe_strategy,
    has_learning_rate,
)
from core.jobs.store import Run
from core.runs.rate_choice import (
    RateResult,
    choose_rate,
    has_rate,
    mean_validation_loss,
    rate_results,
)
from core.runs.sweep import Arm, Sweep, arm_title
from core.workspace import nan_to_none

COMPARED_PARTS = ("target_test", "source_test")


@dataclass(frozen=True)
class SeedSummary:
    """A metric over an arm's seeds.

    Args:
        mean: NaN where the metric is undefined for one of the seeds.
        deviation: standard deviation; NaN with one seed.
        low, high: mean ends of DeLong's 95 % interval, which is the noise of the test rows; NaN
            where it is undefined.
    """

    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class ArmResult:
    """One arm at one target size and learning rate, the chosen one where the sweep chooses it.

    Args:
        title: of the arm.
        strategy: its strategy; "blend" for a blend and "pretraining" for a pretraining run.
        setting: target size and learning rate in words, where the sweep has several.
        target_rows: 0 for all.
        learning_rate: of the settings.
        depth: stages that are never trained, from the input.
        runs: those that are done, by seed.
        metrics: by metric and part ("target_test", "source_test").
        validation_loss: mean log loss (nats) on target validation rows.
        trained_parameters: scalars that training could change; of a blend, with those of its runs.
        seconds: mean duration of a run; of a blend, with that of its runs.
        peak_memory: mean, in bytes; NaN where it is not known.
        halted: epochs after which successive halving ended the arm, 0 where it did not.
        rates: what every rate of the arm gave, where the sweep chooses it.
        window: number of the window that its runs trained on, 0 where they did on none.
    """

    title: str
    strategy: str
    setting: str
    target_rows: int
    learning_rate: float
    depth: int
    runs: tuple[Run, ...]
    metrics: dict[str, dict[str, SeedSummary]]
    validation_loss: float
    trained_parameters: int
    seconds: float
    peak_memory: float
    halted: int
    rates: tuple[RateResult, ...] = ()
    window: int = 0

    def __hash__(self) -> int:
        # Caches are keyed by results; two of the same hash are still compared by every field.
        return hash((self.title, self.setting, self.runs))

    @property
    def auc(self) -> dict[str, SeedSummary]:
        """AUC by part, target_test and source_test."""
        return self.metrics["auc"]

    def spread(self, metric: str, part: str) -> SeedSummary | None:
        """A metric on a part; None where the part, or what tables and figures show, lacks it."""
        return self.metrics.get(metric, {}).get(part)

    @property
    def has_learning_rate(self) -> bool:
        """Whether the learning rate changes its results; that of a blend is of its first run."""
        return self.strategy != "blend" and has_learning_rate(self.strategy)

    @property
    def best_epoch_is_last(self) -> bool:
        """Whether the best epoch of a run was its last, so that it had not trained to its end."""
        return any(
            run.result.best_epoch_is_last for run in self.runs if run.result and has_rate(run)
        )


def summarise_arms(sweep: Sweep, runs: Sequence[Run]) -> list[ArmResult]:
    """Return a result for every arm, size and rate with at least one finished run.

    They are in the sweep's order. Where the sweep chooses rates, an arm has one result at each
    size, of its chosen rate, and none as long as no rate is chosen. What a search has tried is no
    arm: its results are those of the runs that judge its winner.
    """
    groups: dict[tuple[int, float, str, int], list[Run]] = {}
    for run in runs:
        if run.is_trial:
            continue
        if is_done(run) or sweep.spec.choose_rate:
            groups.setdefault((*arm_key(sweep, run), window_number(run)), []).append(run)
    order = {arm.title: place for place, arm in enumerate(sweep.spec.arms)}
    keys = sorted(
        groups,
        key=lambda key: (key[3], key[0] == 0, key[0], -key[1], order.get(key[2], len(order))),
    )
    results = []
    for key in keys:
        found: list[Run] = groups[key]
        rates: tuple[RateResult, ...] = ()
        if sweep.spec.choose_rate:
            found, rates = _runs_of_chosen_rate(found)
        if found:
            setting = describe_setting(sweep, *key[:2], window=key[3])
            result = summarise_arm(found, key[2], setting)
            results.append(dataclasses.replace(result, rates=rates) if rates else result)
    return results


def is_done(run: Run) -> bool:
    """Whether a run has a result to show."""
    return run.status == "done" and run.result is not None


def arm_key(sweep: Sweep, run: Run) -> tuple[int, float, str]:
    """Return (target rows, learning rate, title): what the runs of a row of the results share.

    The rate is 0 where it is chosen, as the runs of all rates then share a row, and in a search,
    whose winner is compared with arms at other rates.
    """
    chosen = sweep.spec.choose_rate or sweep.spec.search is not None
    rate = 0.0 if chosen else run.request.train.learning_rate
    return run.target_rows, rate, arm_title(run)


def window_number(run: Run) -> int:
    """Return the number of the window that a run trained on, 0 where it did on none."""
    return run.window.number if run.window else 0


def _runs_of_chosen_rate(runs: list[Run]) -> tuple[list[Run], tuple[RateResult, ...]]:
    """Return the finished runs of an arm's chosen rate, and what every rate gave.

    Both are empty as long as none is chosen; a strategy without a rate has nothing to choose.
    """
    if not has_rate(runs[0]):
        return [run for run in runs if is_done(run)], ()
    chosen = choose_rate(runs)
    found = [run for run in runs if is_done(run) and run.request.train.learning_rate == chosen]
    return found, rate_results(runs, chosen) if found else ()


def default_reference(results: Sequence[ArmResult | Arm]) -> str:
    """Return the title of the arm that every other arm is compared with.

    It is full fine-tuning, else a control, else the first arm.
    """
    return default_reference_title([result.title for result in results])


def default_reference_title(titles: Sequence[str]) -> str:
    """Return the title that `default_reference` chooses among those of the arms."""
    full = (describe_strategy(name, 0, {}) for name in ("full", "depth"))
    for wanted in (*full, *control_titles()):
        if wanted in titles:
            return wanted
    return titles[0]


def change_from_backbone(result: ArmResult, part: str) -> float | None:
    """Return the mean AUC less that of the backbone as it was; None where either is missing."""
    first = result.runs[0].result
    backbone = (first.before if first else None) or {}
    spread = result.auc.get(part)
    change = spread.mean - metric_value(backbone.get(part), "auc") if spread else float("nan")
    return None if is_missing(change) else change


def missing_auc_sentences(results: Sequence[ArmResult]) -> list[str]:
    """Return a sentence for every part whose test rows give no AUC or no interval, and why."""
    measured = [run.result.metrics for result in results for run in result.runs if run.result]
    sentences = [
        missing_sentence(metrics[part], f"{part.replace('_', ' ')} rows")
        for part in COMPARED_PARTS
        for metrics in measured
        if part in metrics
    ]
    return [*dict.fromkeys(filter(None, sentences))]


def sweep_table(results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Return one row per arm, as the page, files and the command line show it.

    A missing number is None.
    """
    rows = []
    for result in results:
        row: dict[str, Any] = {
            "arm": result.title,
            "setting": result.setting,
            "seeds": len(result.runs),
        }
        for part, suffix in (("target_test", ""), ("source_test", "_source")):
            for metric in metrics_shown_in("arms"):
                spread = result.spread(metric, part)
                row[f"{metric}{suffix}"] = spread.mean if spread else None
                row[f"{metric}{suffix}_deviation"] = spread.deviation if spread else None
        row |= {
            "learning_rate": result.learning_rate if has_rate(result.runs[0]) else None,
            "rates_tried": len(result.rates) or None,
            "validation_log_loss": result.validation_loss,
            "best_epoch_is_last": result.best_epoch_is_last,
            "trained_parameters": result.trained_parameters,
            "seconds": result.seconds,
            "peak_memory": result.peak_memory,
            "halted_epoch": result.halted or None,
        }
        rows.append(nan_to_none(row))
    return rows


def format_chosen_rate(row: Mapping[str, Any]) -> str:
    """Return the chosen rate of a row of `sweep_table` in words; "" where none was chosen.

    >>> format_chosen_rate({"learning_rate": 3e-4, "rates_tried": 3})
    ' at rate 0.0003 (of 3)'
    """
    tried = row["rates_tried"]
    return f" at rate {row['learning_rate']:g} (of {tried})" if tried else ""


def waiting_for_rate(sweep: Sweep, runs: Sequence[Run], results: Sequence[ArmResult]) -> list[str]:
    """Return the arms of a sweep that chooses rates, in words, whose rate is not chosen yet."""
    if not sweep.spec.choose_rate:
        return []
    shown = {(result.target_rows, result.title, result.window) for result in results}
    waiting = {}
    for run in runs:
        size, _, title = arm_key(sweep, run)
        window = window_number(run)
        if (size, title, window) not in shown and has_rate(run):
            setting = describe_setting(sweep, size, 0.0, window)
            waiting[size, title, window] = f"{title} ({setting})" if setting else title
    return [*waiting.values()]


def rates_table(results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Return one row per arm and learning rate that it was chosen from.

    Validation rows alone: what the other rates would give on test rows chooses nothing.
    """
    return [
        nan_to_none(
            {
                "arm": result.title,
                "setting": result.setting,
                "learning_rate": one.learning_rate,
                "seeds": one.seeds,
                "validation_log_loss": one.validation_loss,
                "chosen": one.chosen,
            }
        )
        for result in results
        for one in result.rates
    ]


def summarise_arm(runs: Sequence[Run], title: str, setting: str) -> ArmResult:
    """Return the result of one arm from its finished runs, which differ only by seed."""
    return _summarise_arm(tuple(sorted(runs, key=lambda run: run.seed)), title, setting)


@lru_cache(maxsize=2**12)
def _summarise_arm(runs: tuple[Run, ...], title: str, setting: str) -> ArmResult:
    """Cached, because a sweep's page asks for all arms whenever a run ends."""
    results = [run.result for run in runs if run.result]
    frozen = [stage.frozen for stage in results[0].stages]
    return ArmResult(
        title=title,
        strategy=runs[0].strategy or {"blend": "blend"}.get(runs[0].kind, "pretraining"),
        setting=setting,
        target_rows=runs[0].target_rows,
        learning_rate=runs[0].request.train.learning_rate,
        # A blend has no stages.
        depth=frozen.index(False) if False in frozen else max(0, len(frozen) - 1),
        runs=runs,
        metrics={
            metric: _seed_summaries(runs, metric)
            for metric in metrics_shown_in("arms") | metrics_shown_in("figures")
        },
        validation_loss=mean_validation_loss(runs),
        trained_parameters=results[0].trained_parameters,
        seconds=_mean([one.cost_seconds for one in results]),
        peak_memory=_mean([one.peak_memory for one in results]),
        halted=max(run.halted for run in runs),
        window=window_number(runs[0]),
    )


def describe_setting(sweep: Sweep, target_rows: int, learning_rate: float, window: int = 0) -> str:
    """Return target size, learning rate and window in words, where the sweep has several.

    Args:
        sweep: the sweep.
        target_rows, learning_rate: of the setting.
        window: number of the window that trains; 0 for none.
    """
    words = [f"window {window} of {sweep.spec.windows}"] if window else []
    if len(sweep.spec.target_sizes) > 1:
        words.append(f"{target_rows:,} target rows" if target_rows else "all target rows")
    if len(sweep.spec.learning_rates) > 1 and not sweep.spec.choose_rate:
        words.append(f"learning rate {learning_rate:g}")
    return ", ".join(words)


def _seed_summaries(runs: Sequence[Run], metric: str) -> dict[str, SeedSummary]:
    metrics = [run.result.metrics for run in runs if run.result]
    parts = [part for part in COMPARED_PARTS if all(part in one for one in metrics)]
    return {part: _seed_summary([one[part] for one in metrics], metric) for part in parts}


def _seed_summary(metrics: Sequence[MetricValues], metric: str) -> SeedSummary:
    values = [metric_value(one, metric) for one in metrics]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    low, high = (
        _mean([metric_or_none(one, f"{metric}_{end}") for one in metrics])
        for end in ("low", "high")
    )
    return SeedSummary(_mean(values), deviation, low, high)


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([float("nan") if value is None else value for value in values]))
