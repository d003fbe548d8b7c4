"""Every strategy on the real rows (docs/results.md).

`python -m benchmarks.strategies` writes its section of docs/results.md.

One sweep on a DCNv2 pretrained on the first 60 % of the real Criteo rows: all strategies, five
seeds, 1,000, 5,000 and 20,000 target rows; and WiSE-FT on every run of full fine-tuning.
"""

import argparse
import os
import platform
import tempfile
import textwrap
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np

from benchmarks.page_section import put_section
from benchmarks.real_rows import INGEST, PRETRAIN_DCNV2, thaw
from core.data.datasets import list_datasets
from core.evaluation.verdicts import Verdict
from core.jobs.store import Run, RunStore
from core.runs.arm_verdicts import forgetting_sentences, judge_arms
from core.runs.sweep import Sweep, find_sweep, list_sweeps
from core.runs.sweep_result import ArmResult, default_reference, summarise_arms
from core.workspace import PROJECT, Workspace, open_workspace

HEADING = "Every strategy at 1,000, 5,000 and 20,000 target rows"
NAME = "strategies"
SIZES = (1000, 5000, 20000)
STRATEGIES = (
    "lp-ft",
    "gradual",
    "decay",
    "embeddings-only",
    "auto-rgn",
    "l2-sp",
    "bitfit",
    "lora",
    "meda",
    "autofreeze",
    "scratch",
    "zero-shot",
)
SWEEP = (
    f"sweep --name {NAME} --dataset real --backbone real-dcnv2 --depths all --strategies"
    f" {','.join(STRATEGIES)} --surgical cross1,cross2 --seeds 5 --target-sizes"
    f" {','.join(map(str, SIZES))} --preset small --arms-at-once 2"
)


def prepare(workspace: Workspace, commands: list[str]) -> None:
    """The dataset and the backbone; nothing where the workspace has them."""
    if any(dataset.name == "real" for dataset in list_datasets(workspace)):
        commands += [f"python -m core {INGEST}", f"python -m core {PRETRAIN_DCNV2}"]
        return
    thaw(workspace, INGEST, commands)
    thaw(workspace, PRETRAIN_DCNV2, commands)


def wise_ft(workspace: Workspace, full: Sequence[Run]) -> dict[str, float]:
    """Return AUC on target test rows by run id, at the alpha that validation rows chose."""
    auc_by_run = {}
    for run in full:
        result = thaw(workspace, f"interpolate --run {run.id}", [])
        index = result["alphas"].index(result["chosen"])
        auc_by_run[run.id] = result["parts"]["target_test"]["auc"][index]
    return auc_by_run


def seconds_between(runs: Sequence[Run]) -> float:
    """Seconds from the first start to the last end."""
    starts = [datetime.fromisoformat(run.started) for run in runs if run.started]
    ends = [datetime.fromisoformat(run.finished) for run in runs if run.finished]
    return (max(ends) - min(starts)).total_seconds()


def arm_cell(result: ArmResult, verdict: Verdict | None) -> str:
    """Return the mean AUC ± deviation of an arm, and its difference from full fine-tuning.

    The difference is given only where test rows and seeds allow a verdict.
    """
    spread = result.auc["target_test"]
    text = f"{spread.mean:.4f}" + (
        "" if spread.deviation != spread.deviation else f" ± {spread.deviation:.4f}"
    )
    if verdict is None:
        return text
    mark = {"better": "▲", "worse": "▼", "not distinguishable": "≈"}[verdict.outcome]
    return f"{text} {mark} {verdict.auc.delta:+.4f}"


def table(
    results: Sequence[ArmResult],
    verdicts: Sequence[Verdict],
    reference: str,
    mixed: dict[str, float],
) -> str:
    """A line for every strategy, best validation loss at the largest size first."""
    against = {(one.setting, one.a): one for one in verdicts if one.b == reference}
    largest = {
        one.title: one
        for one in results
        if one.target_rows == SIZES[-1] or one.strategy == "zero-shot"
    }
    sizes = list(dict.fromkeys(one.setting for one in results if one.strategy != "zero-shot"))
    by_setting = {(one.setting, one.title): one for one in results}
    lines = []
    for title, last in sorted(largest.items(), key=lambda pair: pair[1].validation_loss):
        cells = [title]
        for setting in sizes:
            result = by_setting.get((setting, title), last)
            cells.append(arm_cell(result, against.get((setting, title))))
        loss, kept = last.metrics["log_loss"]["target_test"], last.auc["source_test"]
        cells += [
            f"{loss.mean:.4f}",
            f"{kept.mean:.4f}",
            f"{last.trained_parameters:,}",
            f"{last.seconds:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if mixed:
        aucs = [[mixed[run.id] for run in by_setting[setting, reference].runs] for setting in sizes]
        cells = [f"{np.mean(one):.4f} ± {np.std(one, ddof=1):.4f}" for one in aucs]
        lines.append(f"| WiSE-FT of {reference} | {' | '.join(cells)} |  |  |  |  |")
    return "\n".join(lines)


def lessons(results: Sequence[ArmResult], verdicts: Sequence[Verdict], reference: str) -> str:
    """Return what the table shows, in three sentences with its numbers."""
    by_arm = {(one.title, one.target_rows): one for one in results}
    auc = {key: one.auc["target_test"] for key, one in by_arm.items()}
    gains = [f"{auc[reference, size].mean - auc['from scratch', size].mean:+.4f}" for size in SIZES]
    others = {one.title for one in results} - {
        reference,
        "from scratch",
        "fresh embeddings each epoch",
        "zero-shot",
    }
    told = [
        one
        for one in verdicts
        if one.b == reference and one.a in others and one.outcome != "not distinguishable"
    ]
    frozen, full = by_arm["freeze depth 4", SIZES[-1]], by_arm[reference, SIZES[-1]]
    spread = [auc[title, SIZES[0]].deviation for title in ("freeze depth 5", "freeze depth 4")]
    adapted = full.auc["target_test"].mean - auc["zero-shot", SIZES[0]].mean
    text = LESSONS.format(
        gains=f"{', '.join(gains[:-1])} and {gains[-1]}",
        comparisons=len(others) * len(SIZES),
        reference=reference,
        told=len(told),
        named="; ".join(f"{one.a} {one.outcome}, {one.setting}" for one in told),
        share=f"{frozen.trained_parameters / full.trained_parameters:.1%}",
        few=f"{SIZES[0]:,}",
        probe=f"{spread[0]:.4f}",
        kept=f"{spread[1]:.4f}",
        adapted=f"{adapted:+.4f}",
    )
    return textwrap.fill(" ".join(text.split()), 124)


LESSONS = """
What this shows. Starting from the backbone matters more than how much of it stays frozen: compared
with training from scratch, full fine-tuning gains {gains} AUC at the three sizes, and resetting the
embeddings each epoch loses most of that. How much stays frozen hardly matters on 20,000 test rows:
of {comparisons} comparisons of the other strategies with {reference}, {told} are distinguishable
from noise ({named}), so the cheapest is good enough, and freeze depth 4 trains {share} of the
parameters. A new head trained alone on few rows is what loses: at {few} rows the linear probe
(freeze depth 5) varies by ± {probe} over seeds and freeze depth 4 by ± {kept}, while the backbone
as it is, without any training, loses no more than {adapted} AUC even at the largest size.
"""


def page(workspace: Workspace, sweep: Sweep, runs: Sequence[Run], commands: list[str]) -> str:
    """The section's text."""
    results = summarise_arms(sweep, runs)
    reference = default_reference(results)
    verdicts, sentences = judge_arms(workspace, results, reference)
    full = [run for result in results if result.title == reference for run in result.runs]
    mixed = wise_ft(workspace, full)
    commands.append("python -m core interpolate --run R   (R: each run of full fine-tuning)")
    return PAGE.format(
        today=date.today().isoformat(),
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}, device cpu",
        runs=len(runs),
        seconds=f"{seconds_between(runs):,.0f}",
        reference=reference,
        lessons=lessons(results, verdicts, reference),
        table=table(results, verdicts, reference, mixed),
        verdicts="\n".join(
            f"- {sentence}" for sentence in (*sentences, *forgetting_sentences(results))
        ),
        commands="\n".join(commands),
    )


PAGE = """Made by `python -m benchmarks.strategies` on {today} ({machine}). {runs} runs, two at a
time on one thread each, took {seconds} s from the first start to the last end, on a machine that
did other work too: read seconds as orders of magnitude.

{lessons}

The backbone and rows are those above; a target size of 20,000 is all target training and validation
rows, a tenth of each size validates. AUC on 20,000 target test rows, mean ± standard deviation over
five seeds. ▲ better, ▼ worse than {reference} by a difference that is significant over test rows
and seeds, Holm-adjusted over the whole sweep; ≈ not distinguishable. Log loss, source AUC,
parameters and seconds are at 20,000 rows. WiSE-FT averages the weights of each fully fine-tuned run
and its backbone with the alpha that validation rows chose; it is not in the verdicts.

| strategy | AUC, 1,000 rows | AUC, 5,000 rows | AUC, 20,000 rows | log loss | AUC, source test | parameters trained | seconds |
|---|---|---|---|---|---|---|---|
{table}

What the page of the sweep says:

{verdicts}

Commands:

```
{commands}
```
"""  # noqa: E501


def main() -> None:
    """Run the sweep and write the section of docs/results.md.

    The sweep runs in a temporary workspace, or is continued in the one named by --workspace.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "results.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workspace = open_workspace(options.workspace or folder)
        commands: list[str] = []
        prepare(workspace, commands)
        if NAME not in {one.name for one in list_sweeps(workspace)}:
            thaw(workspace, SWEEP, [])
        commands.append(f"python -m core {SWEEP}")
        sweep = find_sweep(workspace, NAME)
        runs = RunStore(workspace).list_group(sweep.id)
        put_section(options.out, HEADING, page(workspace, sweep, runs, commands))


if __name__ == "__main__":
    main()
