"""Pages over thousands of runs, and the verdicts of a large sweep (docs/reliability.md).

`python -m benchmarks.many_runs [--runs 5000]` writes its section of docs/reliability.md. Times are
processor seconds, because a busy machine changes them little.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from streamlit.testing.v1 import AppTest

from benchmarks.reliability import write_section
from core.data.datasets import list_datasets
from core.jobs.store import Run, RunStore
from core.runs.arm_verdicts import judge_arms
from core.runs.sweep import Sweep, arm_of_run, list_sweeps
from core.runs.sweep_result import default_reference, summarise_arms
from core.workspace import PROJECT, Workspace, open_workspace

ROWS = 100_000
"""Of the dataset; a fifth of them are target test rows."""
RERUNS = 5
BUDGET = 0.2
"""Processor seconds that a rerun may take."""


@dataclass(frozen=True)
class Verdicts:
    """The cost of the verdicts of the large sweep.

    Attributes are processor seconds without a cache, after one more run, and after one more run of
    the reference; the number of comparisons; memory in MB at the peak, and before.
    """

    first: float
    one_more: float
    reference: float
    comparisons: int
    peak: float
    before: float


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this process, all its threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def page_seconds(page: str, **query: str) -> tuple[float, float, float]:
    """Return processor seconds of a page: (first visit, median of its reruns, slowest rerun)."""
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=120)
    app.switch_page(f"{page}.py")
    for name, value in query.items():
        app.query_params[name] = value
    first = processor_seconds(app.run)
    again = [processor_seconds(app.run) for _ in range(RERUNS)]
    assert not app.exception, f"{page}: {app.exception[0].value}"
    return first, statistics.median(again), max(again)


def measure_verdicts(root: Path) -> Verdicts:
    """Measure in a process of its own, whose memory is then that of the verdicts."""
    workspace = open_workspace(root)
    sweep = largest_sweep(workspace)
    runs = RunStore(workspace).list_group(sweep.id)
    reference = default_reference(summarise_arms(sweep, runs))
    before = psutil.Process().memory_info().rss / 2**20
    of_arms = {
        title: [run for run in runs if arm_of_run(run).title == title]
        for title in ("LoRA", reference)
    }
    usual, held_against = (of_arm[len(of_arm) // 2] for of_arm in of_arms.values())

    def judge(*left_out: Run) -> int:
        results = summarise_arms(sweep, [run for run in runs if run not in left_out])
        return len(judge_arms(workspace, results, reference)[0])

    first = processor_seconds(lambda: judge(usual, held_against))
    one_more = processor_seconds(lambda: judge(held_against))
    whole = processor_seconds(judge)
    return Verdicts(
        first,
        one_more,
        whole,
        judge(),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        before,
    )


def largest_sweep(workspace: Workspace) -> Sweep:
    """Return the sweep with the most runs."""
    return max(
        list_sweeps(workspace), key=lambda sweep: len(RunStore(workspace).list_group(sweep.id))
    )


def measure(workspace: Workspace, points: int) -> list[str]:
    """The section's lines."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        verdicts = pool.submit(measure_verdicts, workspace.root).result()
    store = RunStore(workspace)
    read = processor_seconds(store.list)
    large = largest_sweep(workspace)
    size = len(store.list_group(large.id))
    pages = {
        "Home": page_seconds("home"),
        "Data": page_seconds("data"),
        "Backbones": page_seconds("backbones"),
        "Backbones, Pretrain": page_seconds("backbones", section="Pretrain"),
        "Fine-tune": page_seconds("finetune"),
        "Sweep, the form": page_seconds("sweep"),
        f"Sweep, the one of {size:,} runs": page_seconds("sweep", sweep=large.id),
        "Run": page_seconds("run"),
        "Score": page_seconds("score"),
        "Compare, the newest sweep chosen": page_seconds("compare"),
        "Compare, a row an arm": page_seconds("compare", rows="A row an arm"),
        "Learn": page_seconds("learn"),
    }
    slow = [name for name, (_, again, _) in pages.items() if again > BUDGET]
    rows = next(
        part.rows for part in list_datasets(workspace)[0].parts if part.part == "target_test"
    )
    return [
        (
            "Processor seconds of a page's rerun in Streamlit's own test runner, the median of"
            f" {RERUNS} and the slowest, and of a session's first look;"
            f" {sum(store.count_by_status().values()):,} runs of {rows:,} target test rows and"
            f" {points} points, {size:,} of them in one sweep. A rerun may take {BUDGET} s;"
            f" {', '.join(slow) or 'none'} {'take' if len(slow) > 1 else 'takes'} longer."
        ),
        "",
        "| page | first look | rerun | slowest |",
        "|---|---|---|---|",
        *(
            f"| {name} | {first:.2f} | {again:.2f} | {most:.2f} |"
            for name, (first, again, most) in pages.items()
        ),
        "",
        (
            f"A server reads all runs once, in {read:.2f} s; after that, what has changed. First"
            " looks hold what a page computes once for all sessions: the large sweep's verdicts,"
            " the curves of the runs that are drawn."
        ),
        "",
        (
            f"The verdicts of that sweep ({verdicts.comparisons} comparisons) take"
            f" {verdicts.first:.1f} s from nothing, in a process that then holds"
            f" {verdicts.peak:.0f} MB at its peak and {verdicts.before:.0f} before. While it"
            f" trains, a run that ends takes {verdicts.one_more:.2f} s more, and one of the arm"
            f" that all others are held against {verdicts.reference:.2f} s: comparisons are kept,"
            " and only those of the changed arm are made anew."
        ),
    ]


def main() -> None:
    """Measures in a temporary workspace and writes the section."""
    # Imports torch, which the process that judges is to do without.
    from benchmarks.load_store import POINTS, fill

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ |= {"THAW_HOME": folder, "THAW_WORKER_LINGER": "5", "OMP_NUM_THREADS": "1"}
        lines = measure(fill(Path(folder), options.runs, ROWS), POINTS)
    write_section("Pages over 5,000 runs", "python -m benchmarks.many_runs", lines)


if __name__ == "__main__":
    main()
