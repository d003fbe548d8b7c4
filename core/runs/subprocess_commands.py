"""Commands carried out in a process of their own, so that what needs torch leaves the app's process
without it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.data.read_options import DEFAULT_OPTIONS, ReadOptions, to_cli_args
from core.errors import BadInput, RunError
from core.models.card import BackboneCard, load_card
from core.workspace import PROJECT, Workspace

PROGRESS_VARIABLE = "THAW_PROGRESS"
"""Set to 1, it makes a command write lines such as "progress 0.42" to standard error where that is
no terminal."""

ProgressFn = Callable[[float], None]


def score_in_subprocess(
    workspace: Workspace,
    run_id: str,
    source: Path,
    target: Path,
    on_bad_rows: str = "reject",
    on_progress: ProgressFn | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """See core.inference.score_file.score_file; on_progress is called with 0 to 1."""
    words = ["--run", run_id, "--input", str(source.resolve()), "--output", str(target.resolve())]
    words += ["--on-bad-rows", on_bad_rows, *to_cli_args(options)]
    return run_command(workspace, ["score", *words], on_progress)


def export_in_subprocess(workspace: Workspace, run_id: str, target: Path) -> dict[str, Any]:
    """See core.inference.export.export_model."""
    return run_command(workspace, ["export", "--run", run_id, "--out", str(target.resolve())])


def report_in_subprocess(
    workspace: Workspace, subject: Sequence[str], target: Path
) -> dict[str, Any]:
    """See core.report.html_report.write_report. subject: words such as ("--sweep", "s-…")."""
    return run_command(workspace, ["report", *subject, "--out", str(target.resolve())])


def verify_in_subprocess(
    workspace: Workspace, run_id: str, on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """See core.runs.verify.Verification, with its sentence."""
    return run_command(workspace, ["verify", "--run", run_id], on_progress)


def weight_drift_in_subprocess(
    workspace: Workspace, run_id: str, on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """See core.inference.weight_drift.measure_weight_drift."""
    return run_command(workspace, ["moved", "--run", run_id], on_progress)


def import_in_subprocess(workspace: Workspace, path: Path, name: str = "") -> BackboneCard:
    """See core.models.backbone_import.import_backbone; it takes some seconds, and calls `path` by
    its file name."""
    data = run_command(workspace, ["import-backbone", str(path.resolve()), f"--name={name}"])
    return load_card(Path(data["backbone"]["folder"]))


def run_command(
    workspace: Workspace, words: Sequence[str], on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """The JSON object of `python -m core` with these words; BadInput or RunError with its sentence
    when there is none.

    The process ends with the caller: when a page is left while it waits here, the command is
    stopped.
    """
    command = [sys.executable, "-m", "core", "--workspace", str(workspace.root), *words, "--json"]
    said: list[str] = []
    # A file and not a pipe: nobody empties a pipe while the other one is read.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        child = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={
                "OMP_WAIT_POLICY": "PASSIVE",
                **os.environ,
                PROGRESS_VARIABLE: "1",
                "PYTHONIOENCODING": "utf-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            assert child.stderr is not None
            for line in child.stderr:
                if line.startswith("progress "):
                    if on_progress:
                        on_progress(float(line.split()[1]))
                else:
                    said.append(line.rstrip())
            status = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            if child.stderr is not None:
                child.stderr.close()
        out.seek(0)
        if text := out.read().strip():
            return json.loads(text)
    sentence = next((line.removeprefix("thaw: ") for line in said if line.startswith("thaw: ")), "")
    if status == 2 and sentence:
        raise BadInput(sentence)
    raise RunError(
        sentence
        or f"The command {words[0]!r} ended with status {status}: {' '.join(said[-3:])[:400]}"
    )
