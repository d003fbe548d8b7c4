"""Everything that shows, stores or exports metrics, used as its users do: commands, files,
pages."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import streamlit as st
from plotly.basedatatypes import BaseFigure
from streamlit.testing.v1 import AppTest

import thaw
from core.cli.output import follow_run
from core.cli.parser import build_parser, main
from core.data.samples import find_sample, read_sample_rows
from core.data.schema import CATEGORICAL, NUMERIC
from core.evaluation.non_inferiority import Margins
from core.inference.export import export_model
from core.jobs.store import RunStore
from core.report.run_tables import arm_frame, run_frame
from core.report.sweep_tables import arms_table, runs_table
from core.report.table_files import to_safe_csv
from core.runs.arm_verdicts import judge_arms
from core.runs.artifacts import score_and_store
from core.runs.demo import wait_for_demo
from core.runs.subprocess_commands import ProgressFn
from core.runs.sweep_result import summarise_arms
from core.tracking.tracked import track_run
from core.workspace import Workspace
from pages.components.shared.common import workspace as of_pages
from pages.components.shared.recommendation import margin_words
from tests.missing.examples import Example
from tests.missing.scored_workspace import Made
from tests.pages.page_states import Place

NO_NUMBER = re.compile(r"(?<![\w/.'])[+-]?(nan|NaN|inf|None)(?![\w/])(?!: these runs)")
"""A number that does not exist, printed; a caption of Compare begins with the word None."""


def check(text: str, where: str) -> None:
    """Fails where a text shows a number that does not exist."""
    found = NO_NUMBER.search(text)
    assert found is None, f"{where}: …{text[max(0, found.start() - 120) : found.end() + 60]}…"


def reason(example: Example) -> str:
    """The reason that must be given for the example; "" where AUC and interval exist."""
    rows, clicks = len(example.labels), sum(example.labels)
    if clicks in (0, rows):
        label = int(clicks > 0)
        return (
            f"the only row has the label {label}"
            if rows == 1
            else f"all {rows} rows have the label {label}"
        )
    if clicks == 1:
        return f"one click in {rows} rows"
    return f"one row without a click in {rows} rows" if clicks == rows - 1 else ""


def run_here(patch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    """Has pages show this workspace and carry commands out in this process; no worker starts."""

    def run(
        space: Workspace, words: Sequence[str], on_progress: ProgressFn | None = None
    ) -> dict[str, Any]:
        options = build_parser().parse_args(["--workspace", str(space.root), *words])
        data: dict[str, Any] = options.run(space, options).data
        return data

    patch.setenv("THAW_HOME", str(workspace.root))
    patch.setattr("core.runs.subprocess_commands.run_command", run)
    for module in ("core.runs.launch", "core.runs.submit", "core.runs.sweep"):
        patch.setattr(f"{module}.ensure_worker", lambda *_: None)
    # Examples share ids of datasets, by which pages keep what they have read.
    of_pages.clear()
    st.cache_data.clear()


def keep_figures(patch: pytest.MonkeyPatch) -> list[str]:
    """A list to which every figure's JSON is added as it is made."""
    kept: list[str] = []
    to_json: Callable[..., str] = BaseFigure.to_json

    def keep(figure: BaseFigure, *args: Any, **named: Any) -> str:
        kept.append(to_json(figure, *args, **named))
        return kept[-1]

    patch.setattr(BaseFigure, "to_json", keep)
    return kept


def check_figures(kept: list[str]) -> None:
    """Fails where a text in a figure shows a number that does not exist."""
    for text in kept:
        for one in re.findall(r'"(?:[^"\\]|\\.)*"', text):
            check(one.strip('"'), "figure")
    kept.clear()


def scored_file(made: Made, example: Example, path: Path) -> Path:
    """A file in the Criteo format with the example's labels."""
    table = read_sample_rows(
        find_sample(made.workspace, made.dataset.sample_id), [*NUMERIC, *CATEGORICAL]
    )
    columns = [table[name].slice(0, example.rows).to_pylist() for name in (*NUMERIC, *CATEGORICAL)]
    rows = [
        "\t".join(
            "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
            for value in row
        )
        for row in zip(example.labels, *columns, strict=True)
    ]
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def drive_commands(
    made: Made, example: Example, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that reads metrics; neither its words, its JSON nor its files hold a number
    that does not exist."""
    run, ids = made.runs[0], ",".join(one.id for one in made.runs)
    parser = build_parser()
    said: dict[str, str] = {}

    def command(*words: str | Path) -> None:
        options = parser.parse_args(["--workspace", str(made.workspace.root), *map(str, words)])
        result = options.run(made.workspace, options)
        assert result.exit_status == 0
        json.dumps(result.data, allow_nan=False)
        check(result.text, str(words[0]))
        said[str(words[0])] = result.text

    command("datasets")
    command("evaluate", "--run", run.id)
    command("calibrate", "--run", run.id, "--dry-run")
    command("calibrate", "--run", run.id, "--method", "none")
    command("controls", "--run", run.id)
    command("importance", "--run", run.id)
    command("interpolate", "--run", run.id)
    command("blend", *made.blending.blend_request.runs)
    command("blend", "--sweep", made.rated.id)
    command("moved", "--run", run.id)
    command("sweep", "--name", made.sweep.id)
    compare_command(made, command, folder)
    command("rename", "--backbone", made.backbone.id, "--name", "renamed")
    for name in ("samples", "sweeps"):
        command(name)
    command("drift", "--dataset", made.dataset.id)
    command("vocabulary", "--dataset", made.dataset.id, "--backbone", made.backbone.id)
    path = scored_file(made, example, folder / "rows.tsv")
    command("score", "--run", run.id, "--input", path, "--output", folder / "scores.csv")
    command(
        "export-tracking",
        "--sweep",
        made.sweep.id,
        "--format",
        "mlflow",
        "--out",
        folder / "mlflow",
    )
    command(
        "export-tracking",
        "--run",
        run.id,
        "--format",
        "tensorboard",
        "--out",
        folder / "tensorboard",
    )
    command("report", "--sweep", made.sweep.id, "--out", folder / "sweep.html")
    command("report", "--runs", ids, "--out", folder / "report.html")
    command("export-backbone", "--backbone", made.backbone.id, "--out", folder / "backbone.zip")
    command("import-backbone", folder / "backbone.zip", "--name", "taken in")
    command("backbones")
    assert main(["--workspace", str(made.workspace.root), "runs", "--json"]) == 0
    json.loads(capsys.readouterr().out, parse_constant=_refuse)
    check(follow_run(made.workspace, run).text, "finetune")
    check(" ".join(wait_for_demo(made.workspace, made.sweep)), "demo")
    html = (folder / "report.html").read_text(encoding="utf-8")
    check(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", " ", html, flags=re.S), "report")
    for metric in (folder / "mlflow").rglob("metrics/**/*"):
        lines = metric.read_text().splitlines() if metric.is_file() else ()
        assert all(np.isfinite(float(line.split()[1])) for line in lines), metric
    # A reason where nothing is missing is as wrong as a number that does not exist.
    for text in (said["runs"], said["evaluate"], said["score"], said["backbones"], said["slices"]):
        assert (
            (reason(example) in text)
            if reason(example)
            else "no interval" not in text and "no AUC" not in text
        )
    assert reason(example) in html and reason(example) in said["compare"]


def compare_command(made: Made, command: Callable[..., None], folder: Path) -> None:
    """The commands that lay runs side by side, of the sweep and of runs of two settings, with the
    tables they write."""
    runs = ",".join(one.id for one in (*made.runs, made.other))
    command("compare", "--runs", runs, "--out-runs", folder / "some.csv")
    command(
        "compare",
        "--sweep",
        made.sweep.id,
        "--out",
        folder / "arms.csv",
        "--out-runs",
        folder / "runs.csv",
    )
    command("compare", "--sweep", made.rated.id)
    command("runs", "--out", folder / "all.csv")
    command("runs", "--out", folder / "by-arm.csv", "--by-arm")
    for name in ("some", "arms", "runs", "all", "by-arm"):
        check((folder / f"{name}.csv").read_text(encoding="utf-8"), f"{name}.csv")
    command("runs")
    command("threshold", "--sweep", made.sweep.id)
    command("threshold", "--sweep", made.rated.id)
    command("threshold", "--runs", runs, "--click-value", "5", "--price", "1")
    command("threshold", "--run", made.runs[0].id, "--at", "0.5")
    command("slices", "--run", made.runs[0].id, "--column", "C1")
    command("slices", "--sweep", made.sweep.id, "--column", "all")
    command("slices", "--sweep", made.sweep.id, "--column", "domain")


def drive_files(made: Made) -> None:
    """The tables that pages offer as files, and the files for tracking tools."""
    store, space = RunStore(made.workspace), made.workspace
    results = summarise_arms(made.sweep, made.runs)
    # Words for what no example here leads to: an arm that loses more than a margin, more seeds.
    check(" ".join([Margins().alternative_words, *margin_words()]), "margins")
    verdicts, sentences = judge_arms(space, results, results[0].title)
    check(" ".join(sentences), "verdicts")
    every = [*made.runs, made.pretraining]
    table = run_frame(
        made.workspace, every, store.validation_summaries(every), {made.sweep.id: made.sweep.name}
    )
    for frame in (
        table,
        arm_frame(made.workspace, every, table)[1],
        arms_table(results, verdicts, results[0].title),
        runs_table(every[:1]),
    ):
        check(to_safe_csv(frame), "CSV")
        numbers = pa.Table.from_pandas(frame)
        for column in (one for one in numbers.columns if pa.types.is_floating(one.type)):
            assert not np.isinf(column.to_numpy()).any()
    for run in every:
        assert np.isfinite([*track_run(store, run, "x").metrics.values()]).all()


def drive_api(made: Made, example: Example, folder: Path) -> None:
    """What a notebook shows of everything in the workspace, and the figures and tables of a run and
    a sweep."""
    ws = thaw.Workspace(made.workspace.root)
    runs = [ws.run(one.id) for one in (*made.runs, made.other, made.pretraining, made.mixing)]
    blend = ws.run(made.blending.id)
    check(blend._repr_html_() + blend.weights.to_csv(), "a blend")
    sweep = ws.sweeps[made.sweep.name]
    listings = (ws.samples, ws.datasets, ws.backbones, ws.runs, ws.sweeps)
    for shown in (ws, *listings, *(one for listing in listings for one in listing), *runs):
        check(repr(shown), f"repr of {type(shown).__name__}")
        check(shown._repr_html_(), f"HTML of {type(shown).__name__}")
    run = runs[0]
    # What a notebook completes after a dot.
    assert {"auc", "auc_low", "log_loss"} <= set(dir(run.metrics.target_test))
    for metrics in (run.metrics, run.before):
        check(metrics._repr_html_(), "metrics")
        assert not np.isinf(metrics.to_pandas().to_numpy()).any()
    check(str(run.calibrate(use=False).attrs), "calibrate")
    check(run.importance(permutations=1).to_csv() + run.response("I2").to_csv(), "importance")
    check(run.recommend() + sweep.recommend(), "a recommendation")
    sweep.report(folder / "api.html")
    figures = [run.roc(), run.precision_recall(), run.calibration(), run.gains(), run.confusion()]
    figures.append(run.reliability(method="none"))
    curves = [run.learning_curves(metric) for metric in ("loss", "auc", "accuracy")]
    for figure in (*figures, run.reliability(method="none"), *curves, sweep.figure()):
        figure.to_json()
    check(sweep.verdict, "the verdict of the API")
    rated = ws.sweeps[made.rated.name]
    check(rated.rates_table().to_csv(), "rates")
    check(" ".join(one.sentence for one in (*rated.choices, *sweep.choices)), "choices")
    assert len(sweep.table()) == len({one.title for one in made.sweep.spec.arms})
    scores = run.score(scored_file(made, example, folder / "api.tsv"))
    assert len(scores) == example.rows


def drive_pages(made: Made, example: Example, folder: Path, once: bool) -> None:
    """Every page that shows metrics. once: pages too that show none of a run's."""
    run = made.runs[0]
    path = scored_file(made, example, folder / "rows.tsv")
    score_and_store(made.workspace, run.id, path, "rows.tsv", "reject")
    places = [
        Place("home"),
        Place("run", {"run": run.id}),
        Place("run", {"run": made.blending.id}),
        Place("score", {"run": run.id}),
        Place("compare", {"runs": ",".join(one.id for one in made.runs)}),
        Place("sweep", {"sweep": made.sweep.id}),
        Place("backbones", {"section": "Shelf"}),
        Place("learn", {"run": run.id}),
    ]
    if once:
        export_model(made.workspace, run, folder / "exported")
        places += [
            Place("run", {"run": made.pretraining.id}),
            Place("sweep", {"sweep": made.rated.id}),
            # Of the newest launch.
            Place("compare"),
            Place("compare", {"runs": f"{made.runs[0].id},{made.other.id}", "rows": "arm"}),
            *(Place("data", view=view) for view in ("Sample", "Split", "Datasets")),
        ]
    for place in places:
        app = place.open()
        assert not app.exception, (place, app.exception)
        check(words_of(app), f"page {place.page}")
        if reason(example) and place.page in ("home", "run", "score", "compare", "sweep", "learn"):
            assert reason(example) in words_of(app).replace("\\", ""), place


def words_of(app: AppTest) -> str:
    """Every text on a page, in tables too."""
    elements = [
        *app.markdown,
        *app.caption,
        *app.info,
        *app.warning,
        *app.error,
        *app.success,
        *app.subheader,
    ]
    texts = [str(one.value) for one in elements] + [
        f"{one.label} {one.value} {one.delta}" for one in app.metric
    ]
    for table in app.dataframe:
        # A cell without a value shows the word None, unless the table says what to show instead.
        assert table.proto.placeholder or not table.value.isna().to_numpy().any(), table.value
        texts += [
            str(value)
            for column in table.value.select_dtypes(["object", "str"])
            for value in table.value[column].dropna()
        ]
    return "\n".join(texts)


def _refuse(name: str) -> None:
    raise AssertionError(f"JSON holds {name}")
