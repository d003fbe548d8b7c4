"""The article's own networks on real rows (docs/article.md).

`python -m benchmarks.article` writes docs/article.md.

VGG19 and ResNet50 on pictures of the features, by the article's preset (batch 32, 10 epochs, Adam
1e-3, softmax head on two classes), beside a DCNv2 pretrained on the source rows and tuned by the
same preset on the same rows. Weights of the image networks: --weights-vgg19 and --weights-resnet50,
or ImageNet where Keras can load it, or random; the page says which. About 12 minutes of one core.
"""

import argparse
import gzip
import itertools
import os
import platform
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.real_rows import PRETRAIN, ROWS, thaw
from core.data.datasets import find_dataset, load_labels, select_test_rows, select_training_rows
from core.data.preprocessing import load_preprocessing
from core.data.split import SPLIT_PARTS
from core.evaluation.format_metrics import format_metric, format_with_bounds
from core.evaluation.metrics import compute_metrics
from core.models.objectives import ORIGINS
from core.models.registry import ARCHITECTURES
from core.models.zoo.feature_image import FeatureImage
from core.training.training_rows import load_rows
from core.workspace import PROJECT, Workspace, open_workspace

SOURCE_ROWS = 60_000
TARGETS = {"many": (10_000, 1 / 2), "few": (3_500, 4 / 7)}
"""By dataset, the number of target rows and the share of them that tests; few, as convolutions are
slow."""
IMAGES = ("vgg19", "resnet50")
ARTICLE = "--preset article --head-output softmax"
FINETUNE_FLAGS = (("many", "--freeze-depth 5"), ("few", "--freeze-depth 4"))
"""By dataset, what is fine-tuned: a linear probe, and the uppermost stage with it."""


def first_rows(rows: int, path: Path) -> Path:
    """Write the first `rows` real rows into a file of their own, and return it."""
    with (
        gzip.open(ROWS, "rt", encoding="utf-8") as source,
        path.open("w", encoding="utf-8") as target,
    ):
        target.writelines(itertools.islice(source, rows))
    return path


def prepare(workspace: Workspace, folder: Path, printed: list[str]) -> str:
    """Prepare the datasets of TARGETS, and return their rows in words."""
    texts = []
    for name, (rows, test_share) in TARGETS.items():
        path = first_rows(SOURCE_ROWS + rows, folder / f"{name}.tsv")
        shares = (
            f"--source-share {SOURCE_ROWS / (SOURCE_ROWS + rows):.6f} --target-test-share"
            f" {test_share:.6f}"
        )
        shares += " --source-test-share 0.005 --source-validation-share 0.04"
        found = thaw(workspace, f"ingest {path} --name {name} {shares}", printed)["dataset"][
            "parts"
        ]
        printed[-1] = printed[-1].replace(str(path), f"first_{SOURCE_ROWS + rows}_rows.tsv")
        counts = {part["part"]: part["rows"] for part in found}
        texts.append(
            f"- *{name}*: "
            + ", ".join(f"{part.replace('_', ' ')} {counts[part]:,}" for part in SPLIT_PARTS)
        )
    return "\n".join(texts)


def make_backbone(
    workspace: Workspace, architecture: str, file: Path | None, printed: list[str]
) -> str:
    """Make the image backbone from the best weights available; return a phrase that says which."""
    command = (
        f"pretrain --dataset many --architecture {architecture} --name {architecture} --objective"
        " none"
    )
    starts = (
        [f"--start weights --start-file {file}"] if file else ["--start imagenet", "--start random"]
    )
    for start in starts:
        try:
            thaw(workspace, f"{command} {start}", printed)
        except subprocess.CalledProcessError:
            if start == starts[-1]:
                raise
            printed[-1] += "   # failed: no network, nothing in Keras' cache"
        else:
            if file:
                printed[-1] = printed[-1].replace(str(file), file.name)
            return ORIGINS[start.split()[1]]
    raise AssertionError("there is always a start")


def cell_colour_baseline(workspace: Workspace, name: str) -> tuple[dict[str, Any], float]:
    """Return (test metrics, seconds) of a logistic regression on the picture's 117 cell colours."""
    began = time.monotonic()
    fitted, dataset = find_dataset(workspace, "many"), find_dataset(workspace, name)
    folder = fitted.folder / "preprocessing"
    source = load_rows(workspace, fitted, folder, SPLIT_PARTS).take(
        select_training_rows(fitted, "source", None)[0], torch.device("cpu")
    )
    table = load_rows(workspace, dataset, folder, SPLIT_PARTS)
    image = FeatureImage(load_preprocessing(folder).field_sizes)
    image.fit(source.state[0], source.labels)
    train, test = (
        select_training_rows(dataset, "target", None)[0],
        select_test_rows(dataset, "target"),
    )
    x = {
        part: image.channels(*table.take(rows, torch.device("cpu")).state).flatten(1).numpy()
        for part, rows in (("train", train), ("test", test))
    }
    labels = load_labels(dataset)
    model = LogisticRegression(C=0.1, max_iter=1000).fit(x["train"], labels[train])
    metrics = compute_metrics(labels[test], model.predict_proba(x["test"])[:, 1], 0.5).as_dict()
    return metrics, time.monotonic() - began


def table_row(
    what: str, weights: str, metrics: dict[str, Any], trained: str, seconds: float
) -> str:
    """Return one row of a table."""
    auc = format_with_bounds(metrics["auc"], metrics["auc_low"], metrics["auc_high"])
    return (
        f"| {what} | {weights} | {auc} | {format_metric(metrics['log_loss'])} | {trained} |"
        f" {seconds:.0f} |"
    )


def finetune(
    workspace: Workspace, name: str, backbone: str, flags: str, printed: list[str]
) -> dict[str, Any]:
    """Return the result of one fine-tuning run."""
    return thaw(workspace, f"finetune --dataset {name} --backbone {backbone} {flags}", printed)[
        "run"
    ]["result"]


def run_protocol(workspace: Workspace, folder: Path, files: dict[str, Path | None]) -> str:
    """Run everything, and return the text of docs/article.md."""
    printed: list[str] = []
    rows = prepare(workspace, folder, printed)
    pretrained = thaw(
        workspace, f"pretrain --dataset many --architecture dcnv2 --name dcnv2 {PRETRAIN}", printed
    )["run"]["result"]
    weights = {
        architecture: make_backbone(workspace, architecture, files[architecture], printed)
        for architecture in IMAGES
    }
    weights["dcnv2"] = ORIGINS["supervised"]
    tables = []
    for name, flags in FINETUNE_FLAGS:
        lines = []
        for backbone in (*IMAGES, "dcnv2"):
            result = finetune(workspace, name, backbone, f"{flags} {ARTICLE}", printed)
            what = (
                f"{ARCHITECTURES[backbone].title},"
                f" {flags.removeprefix('--').replace('freeze-', 'freeze ')} of 5"
            )
            trained = f"{result['trained_parameters']:,}"
            test = result["metrics"]["target_test"]
            lines.append(
                table_row(what, weights[backbone], test, trained, result["seconds"]["total"])
            )
        zero = finetune(workspace, name, "dcnv2", "--strategy zero-shot", printed)
        test, seconds = zero["metrics"]["target_test"], zero["seconds"]["total"]
        lines.append(table_row("DCNv2, zero-shot", weights["dcnv2"], test, "0", seconds))
        metrics, seconds = cell_colour_baseline(workspace, name)
        lines.append(
            table_row("logistic regression on the picture's cells", "", metrics, "118", seconds)
        )
        tables.append("\n".join(lines))
    return PAGE.format(
        today=date.today().isoformat(),
        machine=(
            f"{os.cpu_count()} cores, Python {platform.python_version()}, device"
            f" {pretrained['device']}"
        ),
        rows=rows,
        weights="; ".join(f"{ARCHITECTURES[key].title}: {weights[key]}" for key in IMAGES),
        note=RANDOM_NOTE if ORIGINS["random"] in weights.values() else "",
        many=tables[0],
        few=tables[1],
        seconds=pretrained["seconds"]["total"],
        commands="\n".join(printed),
    )


PAGE = """# The article's own networks

Made by `python -m benchmarks.article` on {today} ({machine}; seconds include whatever else the
machine was doing).

The article's preset as written, batch 32, 10 epochs, Adam 1e-3, a dense softmax head on two
classes, on pictures of the 39 features (`core/models/zoo/feature_image.py`), beside a DCNv2
pretrained on the source rows in {seconds:.0f} s and tuned by the same preset. Real rows of the
Kaggle Display Advertising Challenge in order of time: the first 60,000 are source, the next are
target. The picture's statistics come from source training rows, as does DCNv2's vocabulary. Rows:

{rows}

**Weights of the image networks: {weights}.**{note}

AUC with DeLong's 95 % interval on target test rows; log loss in nats; one seed; seconds of the
whole fine-tuning run, the frozen prefix included.

## A linear probe: freeze depth 5, every stage frozen

| network | weights | AUC | log loss | parameters trained | seconds |
|---|---|---|---|---|---|
{many}

## The uppermost stage and the head: freeze depth 4, fewer rows

| network | weights | AUC | log loss | parameters trained | seconds |
|---|---|---|---|---|---|
{few}

The logistic regression uses the 117 numbers that the picture encodes, on the same target rows,
without any network: the difference to it is what a convolutional network adds. Shallower depths and
more rows were left out for time.

Commands:

```
{commands}
```
"""


RANDOM_NOTE = """ Random weights were used because Keras' ImageNet weights were
not available; these numbers do not show what those would reach."""


def main() -> None:
    """Run the protocol in a temporary workspace, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    for architecture in IMAGES:
        parser.add_argument(
            f"--weights-{architecture}", type=Path, help="a Keras weights file without the top"
        )
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "article.md")
    options = parser.parse_args()
    files = {architecture: getattr(options, f"weights_{architecture}") for architecture in IMAGES}
    # The worker lingers, and may write while its workspace is being removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = run_protocol(open_workspace(Path(folder) / "workspace"), Path(folder), files)
        options.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
