"""The protocol on real rows (docs/results.md).

`python -m benchmarks.real_rows` writes its section of docs/results.md.

Pretrains DCNv2 on the first 60 % of the real Criteo rows, fine-tunes at every freeze depth on the
next 20 %, tests on the last 20 %, beside the controls and a one-hot logistic regression trained on
the first 60 %.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from benchmarks.page_section import put_section
from core.data.columns.dictionary_file import dictionary_decode
from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import find_dataset, load_labels, select_test_rows
from core.data.preprocessing import fit_preprocessing
from core.data.split import SPLIT_PARTS
from core.evaluation.format_metrics import format_metric, format_with_bounds
from core.evaluation.metrics import Metrics, compute_metrics
from core.workspace import PROJECT, Workspace, open_workspace

ROWS = PROJECT.parent / "shared" / "data" / "criteo_real_100k.tsv.gz"
INGEST = (
    f"ingest {os.path.relpath(ROWS, PROJECT)} --name real --source-test-share 0.05"
    " --source-validation-share 0.04"
)
PRETRAIN = "--batch-size 256 --lr 5e-4 --early-stopping 2"
PRETRAIN_DCNV2 = f"pretrain --dataset real --architecture dcnv2 --name real-dcnv2 {PRETRAIN}"
DEPTHS = range(6)
HEADING = "Real rows: how much of a DCNv2 should stay frozen?"


def thaw(workspace: Workspace, command: str, printed: list[str]) -> dict[str, Any]:
    """Run one command of Thaw, add it to `printed` for the page, and return its JSON."""
    printed.append(f"python -m core {command}")
    done = subprocess.run(
        [sys.executable, "-m", "core", *shlex.split(command), "--json"],
        cwd=PROJECT,
        env={**os.environ, "THAW_HOME": str(workspace.root)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def logistic_regression(workspace: Workspace, rows: int) -> tuple[Metrics, float]:
    """Return (test metrics, seconds) of a one-hot logistic regression.

    It is trained on the first 60 % of the rows, with a minimum count of 5.
    """
    began = time.monotonic()
    dataset = find_dataset(workspace, "real")
    table = dictionary_decode(read_dataset_rows(workspace, dataset))
    preprocessing = fit_preprocessing(table.slice(0, rows), min_count=5)
    ids = preprocessing.encode(table).ids.astype(np.int64)
    columns = ids + np.concatenate([[0], np.cumsum(preprocessing.field_sizes)[:-1]])
    starts = np.arange(0, columns.size + 1, columns.shape[1])
    shape = (len(columns), sum(preprocessing.field_sizes))
    x = csr_matrix((np.ones(columns.size), columns.ravel(), starts), shape=shape)
    y = load_labels(dataset)
    model = LogisticRegression(C=0.1, max_iter=300).fit(x[:rows], y[:rows])
    test = select_test_rows(dataset, "target")
    return compute_metrics(
        y[test], model.predict_proba(x[test])[:, 1], 0.5
    ), time.monotonic() - began


def table_row(
    name: str, metrics: dict[str, Any], source: dict[str, Any] | None, trained: str, seconds: float
) -> str:
    """One row of the table."""
    auc = format_with_bounds(metrics["auc"], metrics["auc_low"], metrics["auc_high"])
    kept = format_metric(source["auc"]) if source else ""
    loss, entropy = format_metric(metrics["log_loss"]), format_metric(metrics["normalised_entropy"])
    return f"| {name} | {auc} | {loss} | {entropy} | {kept} | {trained} | {seconds:.1f} |"


def run_protocol(workspace: Workspace) -> str:
    """Everything, as the section's text."""
    commands: list[str] = []
    ingested = thaw(workspace, INGEST, commands)
    parts = {part["part"]: part["rows"] for part in ingested["dataset"]["parts"]}
    pretrained = thaw(workspace, PRETRAIN_DCNV2, commands)["run"]
    commands = [f"--freeze-depth {depth}" for depth in DEPTHS] + [
        "--strategy scratch",
        "--strategy zero-shot",
    ]
    finetuned = [
        thaw(
            workspace,
            f"finetune --dataset real --backbone real-dcnv2 {flags} --preset small",
            commands,
        )["run"]
        for flags in commands
    ]
    lines = []
    for flags, run in zip(commands, finetuned, strict=True):
        name = (
            flags.removeprefix("--")
            .replace("strategy ", "")
            .replace("freeze-depth", "freeze depth")
        )
        result = run["result"]
        metrics = result["metrics"]
        trained, seconds = f"{result['trained_parameters']:,}", result["seconds"]["total"]
        lines.append(
            table_row(name, metrics["target_test"], metrics["source_test"], trained, seconds)
        )
    regression, seconds = logistic_regression(workspace, round(0.6 * sum(parts.values())))
    lines.append(
        table_row(
            "one-hot logistic regression on the first 60 %", regression.as_dict(), None, "", seconds
        )
    )
    pretrain_seconds = pretrained["result"]["seconds"]["total"]
    return PAGE.format(
        today=date.today().isoformat(),
        device=pretrained["result"]["device"],
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}",
        parts=", ".join(f"{part.replace('_', ' ')} {parts[part]:,}" for part in SPLIT_PARTS),
        seconds=pretrain_seconds,
        table="\n".join(lines),
        commands="\n".join(commands),
    )


PAGE = """Made by `python -m benchmarks.real_rows` on {today} ({machine}, device {device}).

100,000 real rows of the Kaggle Display Advertising Challenge in order of time: pretrained on the
first 60 %, fine-tuned on the next 20 %, tested on the last 20 %.

Rows: {parts}.

Pretraining took {seconds:.1f} s. AUC with DeLong's 95 % interval; log loss in nats; one seed.

| strategy | AUC, target test | log loss | normalised entropy | AUC, source test | parameters trained | seconds |
|---|---|---|---|---|---|---|
{table}

The stages are embedding, cross 1, cross 2, block 1, block 2: freeze depth 0 is full fine-tuning, 5
a linear probe. The logistic regression has the same buckets and categories one-hot, minimum count
5, C = 0.1.

Commands:

```
{commands}
```
"""  # noqa: E501 - a table's rows


def main() -> None:
    """Runs the protocol in a temporary workspace, or in the one named, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "results.md")
    options = parser.parse_args()
    # The worker may still write when the folder goes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = run_protocol(open_workspace(options.workspace or folder))
        put_section(options.out, HEADING, page)
    print(page)


if __name__ == "__main__":
    main()
