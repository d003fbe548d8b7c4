"""Ways to initialise the embedding stage, compared (docs/embeddings.md).

`python -m benchmarks.embeddings` writes docs/embeddings.md.

On the real rows, the embedding is random, from Word2Vec of the source rows, or from a network that
was trained on their clicks; every other stage is random. Each is frozen, or fine-tuned on target
rows, with five seeds.
"""

import argparse
import gzip
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.parity import Silent
from benchmarks.real_rows import ROWS
from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.preprocessing import load_preprocessing
from core.data.reading.ingest import ingest
from core.data.split import SplitSpec
from core.evaluation.format_metrics import format_with_bounds, metric_value
from core.jobs.requests import FinetuneRequest, PretrainRequest, Request, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.models.backbone import load_backbone
from core.models.card import load_card
from core.models.network import Embedding
from core.program import VERSION
from core.runs.dispatch import execute
from core.training.word_vectors import embedding_words
from core.workspace import PROJECT, Workspace, open_workspace

SOURCE, TARGET, TEST = 60_000, 20_000, 20_000
FEW_TARGET_ROWS = 2_000
ARMS = (("dnn", TARGET), ("dnn", FEW_TARGET_ROWS), ("dcnv2", TARGET))
STARTS = {"random": "random", "word2vec": "Word2Vec", "supervised": "supervised"}
SEEDS = range(5)
PRETRAIN = TrainSettings(
    epochs=20, batch_size=256, learning_rate=5e-4, early_stopping=2, device="cpu"
)
FINETUNE = TrainSettings(
    epochs=30, batch_size=256, learning_rate=5e-4, early_stopping=3, device="cpu"
)


@dataclass(frozen=True)
class Cell:
    """AUC on the target test rows for every seed.

    Attributes:
        width: half of DeLong's 95 % interval, mean over seeds.
    """

    auc: np.ndarray
    width: float
    epochs: float


def run_here(workspace: Workspace, request: Request) -> RunResult:
    """Run a request in this process, as a worker would, and return its result."""
    store = RunStore(workspace)
    run = store.submit(request, "benchmark", "cpu")
    store.claim("cpu", os.getpid())
    result = execute(workspace, run, Silent())
    store.finish(run.id, "done", result=result)
    return result


def real_dataset(workspace: Workspace, target: int) -> Dataset:
    """Prepare a dataset of the real rows with `target` rows for fine-tuning.

    The first 60 % are the source and the last 20 % the test rows; the target rows are those right
    before the test rows.
    """
    with gzip.open(ROWS, "rb") as stream:
        lines = stream.readlines()
    if len(lines) != SOURCE + TARGET + TEST:
        raise SystemExit(
            f"{ROWS.name} holds {len(lines):,} rows; this protocol needs"
            f" {SOURCE + TARGET + TEST:,}."
        )
    path = workspace.uploads / f"real-{target}.tsv"
    path.write_bytes(b"".join(lines[:SOURCE] + lines[-TEST - target :]))
    spec = SplitSpec(
        source_share=SOURCE / (SOURCE + target + TEST),
        target_test_share=TEST / (target + TEST),
        source_test_share=0.05,
        source_validation_share=0.04,
    )
    return prepare(workspace, ingest(workspace, path, f"real-{target}"), spec, f"real-{target}")


def export_vectors(workspace: Workspace, backbone: str, path: Path) -> None:
    """Write a backbone's embedding table as a text file in GloVe's format."""
    card = load_card(workspace.backbones / backbone)
    stage = load_backbone(card).stage_list()[0]
    assert isinstance(stage, Embedding)
    table = stage.table.weight.detach().numpy()
    named = zip(
        embedding_words(load_preprocessing(card.folder / "preprocessing")),
        table.tolist(),
        strict=True,
    )
    path.write_text(
        "".join(f"{word} {' '.join(map(repr, vector))}\n" for word, vector in named),
        encoding="utf-8",
    )


def backbones(
    workspace: Workspace, dataset: Dataset, architecture: str, word2vec: Path
) -> dict[str, RunResult]:
    """Return the results of pretraining: by clicks, and one untrained backbone per initialisation.

    Word2Vec is trained once, and its vectors are stored in the file `word2vec`, as they depend only
    on the rows.
    """
    made = {
        "clicks": run_here(
            workspace, PretrainRequest(dataset.id, architecture, f"{architecture}-1", PRETRAIN)
        )
    }
    clicks = workspace.uploads / f"{architecture}.txt"
    export_vectors(workspace, made["clicks"].backbone, clicks)
    begin = {
        "random": ("random", ""),
        "supervised": ("vectors", str(clicks)),
        "word2vec": ("word2vec", ""),
    }
    if word2vec.exists():
        begin["word2vec"] = ("vectors", str(word2vec))
    for start in STARTS:
        name = f"{architecture}-{start}"
        request = PretrainRequest(
            dataset.id, architecture, name, PRETRAIN, {}, "none", *begin[start]
        )
        made[start] = run_here(workspace, request)
    export_vectors(workspace, made["word2vec"].backbone, word2vec)
    return made


def tune(workspace: Workspace, dataset: Dataset, backbone: str, depth: int) -> Cell:
    """Fine-tune once per seed."""
    metrics, epochs = [], []
    for seed in SEEDS:
        train = TrainSettings(**{**vars(FINETUNE), "seed": seed})
        result = run_here(
            workspace, FinetuneRequest(dataset.id, backbone, freeze_depth=depth, train=train)
        )
        metrics.append(result.metrics["target_test"])
        epochs.append(result.best_epoch)
    widths = [(metric_value(one, "auc_high") - metric_value(one, "auc_low")) / 2 for one in metrics]
    return Cell(
        np.array([metric_value(one, "auc") for one in metrics]),
        float(np.mean(widths)),
        float(np.mean(epochs)),
    )


def with_interval(values: np.ndarray) -> str:
    """Mean ± deviation, and the 95 % interval of the mean by Student's t."""
    mean, deviation = values.mean(), values.std(ddof=1)
    half = stats.t.ppf(0.975, len(values) - 1) * deviation / np.sqrt(len(values))
    return f"{mean:.4f} ± {deviation:.4f} | {mean - half:.4f} to {mean + half:.4f}"


def difference(values: np.ndarray, base: np.ndarray) -> str:
    """Mean difference of the same seeds, with its 95 % interval by Student's t."""
    gap = values - base
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
    return f"{gap.mean():+.4f} ({gap.mean() - half:+.4f} to {gap.mean() + half:+.4f})"


def lines(cells: dict[tuple[str, int, str, int], Cell]) -> Iterator[str]:
    """The rows of the table."""
    for (architecture, target, start, depth), cell in cells.items():
        base = cells[(architecture, target, "random", depth)]
        gap = "" if start == "random" else difference(cell.auc, base.auc)
        kept = "frozen" if depth else "tuned"
        yield (
            f"| {architecture} | {target:,} | {STARTS[start]} | {kept} | {with_interval(cell.auc)}"
            f" | {gap} | {cell.epochs:.0f} |"
        )


def pretrained_line(name: str, result: RunResult) -> str:
    """A row of the table of supervised pretraining."""
    shown = [result.metrics[part] for part in ("source_test", "target_test")]
    aucs = " | ".join(
        format_with_bounds(metrics["auc"], metrics["auc_low"], metrics["auc_high"])
        for metrics in shown
    )
    return f"| {name} | {aucs} | {result.best_epoch} | {result.total_seconds:.0f} |"


def run_protocol(workspace: Workspace) -> str:
    """Everything, as the text of docs/embeddings.md."""
    began = time.monotonic()
    datasets = {target: real_dataset(workspace, target) for target in (TARGET, FEW_TARGET_ROWS)}
    word2vec = workspace.uploads / "word2vec.txt"
    made = {
        architecture: backbones(workspace, datasets[TARGET], architecture, word2vec)
        for architecture in dict.fromkeys(architecture for architecture, _ in ARMS)
    }
    warm = PretrainRequest(
        datasets[TARGET].id, "dnn", "dnn-warm", PRETRAIN, start="vectors", start_file=str(word2vec)
    )
    pretrained = [
        pretrained_line("random", made["dnn"]["clicks"]),
        pretrained_line("Word2Vec", run_here(workspace, warm)),
    ]
    print(*pretrained, sep="\n", flush=True)
    cells = {}
    for architecture, target in ARMS:
        for depth in (1, 0):
            for start in STARTS:
                cell = tune(workspace, datasets[target], made[architecture][start].backbone, depth)
                cells[(architecture, target, start, depth)] = cell
                print(architecture, target, start, depth, cell.auc.round(4), flush=True)
    vectors = made["dnn"]["word2vec"].seconds["prepare"]
    load = os.getloadavg()[2]
    return PAGE.format(
        today=date.today().isoformat(),
        version=VERSION,
        machine=(
            f"{os.cpu_count()} cores, load average {load:.0f}, Python"
            f" {platform.python_version()}, CPU"
        ),
        width=np.mean([cell.width for cell in cells.values()]),
        table="\n".join(lines(cells)),
        pretrained="\n".join(pretrained),
        vectors=vectors,
        minutes=(time.monotonic() - began) / 60,
    )


PAGE = """# Embeddings: random, Word2Vec, supervised

Made by `python -m benchmarks.embeddings` on {today} with version {version} ({machine}, {minutes:.0f} minutes).
No averaged weights and no target statistics, so that only the embedding differs.

100,000 real rows of the Kaggle Display Advertising Challenge in order of time: the first 60 % are the source domain,
the last 20 % the target test rows, and the target rows just before those (10 % of them validate) are used for fine-tuning. Only the embedding stage differs: new
random weights; Word2Vec of the source training rows, labels unused (`--start
word2vec --objective none`, {vectors:.0f} s); or the embedding of the same network after training on the clicks of those
rows, passed through a text file (`--start vectors`). All other stages start from the same random weights, and the
head is new. *Frozen* is freeze depth 1, *tuned* is 0. Batch 256, Adam 5e-4, at most 30 epochs, the best by validation
loss is kept.

AUC on the target test rows: mean ± standard deviation of five seeds of the fine-tuning (head, row order, dropout), and
the 95 % interval of that mean; then the difference to random embeddings, seed by seed, with its own interval. These intervals hold for these test rows
and one backbone per initialisation; DeLong's interval of a single AUC, for other test rows
like these, is ± {width:.4f}.

| model | target rows | embedding from | | AUC | 95 % interval over seeds | against random | best epoch |
|---|---|---|---|---|---|---|---|
{table}

## Word2Vec as the start of supervised pretraining

DNN on the same source rows, one seed, DeLong's 95 % intervals; zero-shot on the target test rows.

| start | AUC, source test | AUC, target test | best epoch | seconds |
|---|---|---|---|---|
{pretrained}
"""  # noqa: E501 - a table's rows


def main() -> None:
    """Runs the protocol in a temporary workspace and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "embeddings.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = run_protocol(open_workspace(folder))
    options.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
