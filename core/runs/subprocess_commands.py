"""Commands run in a process of their own, so that the app's process never imports torch."""

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
    calibration: str | None = None,
) -> dict[str, Any]:
    """Score a file, see core.inference.score_file.score_file.

    Args:
        workspace, run_id: of the model.
        source: the file to score.
        target: the CSV file to write.
        on_bad_rows: "reject" or "skip".
        on_progress: called with 0 to 1.
        options: how the file is read.
        calibration: the method; None for the one that the run uses.
    """
    words = ["--run", run_id, "--input", str(source.resolve()), "--output", str(target.resolve())]
    words += ["--on-bad-rows", on_bad_rows, *to_cli_args(options)]
    words += [] if calibration is None else ["--calibration", calibration]
    return run_command(workspace, ["score", *words], on_progress)


def export_in_subprocess(
    workspace: Workspace, run_id: str, target: Path, calibration: str | None = None
) -> dict[str, Any]:
    """Export a run's model, see core.inference.export.export_model."""
    words = [] if calibration is None else ["--calibration", calibration]
    return run_command(
        workspace, ["export", "--run", run_id, "--out", str(target.resolve()), *words]
    )


def report_in_subprocess(
    workspace: Workspace, subject: Sequence[str], target: Path
) -> dict[str, Any]:
    """Write a report, see core.report.html_report.write_report.

    Args:
        workspace: of what is reported.
        subject: words of the command, such as ("--sweep", "s-…").
        target: the HTML file to write.
    """
    return run_command(workspace, ["report", *subject, "--out", str(target.resolve())])


def verify_in_subprocess(
    workspace: Workspace, run_id: str, on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """Repeat a run, see core.runs.verify.Verification; with its sentence."""
    return run_command(workspace, ["verify", "--run", run_id], on_progress)


def weight_drift_in_subprocess(
    workspace: Workspace, run_id: str, on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """See core.inference.weight_drift.measure_weight_drift."""
    return run_command(workspace, ["moved", "--run", run_id], on_progress)


def why_in_subprocess(
    workspace: Workspace, run_id: str, words: Sequence[str], on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """Run one of the commands importance, explain and response, which store what they find.

    Args:
        workspace, run_id: of the model.
        words: the command and its flags, without the run.
        on_progress: called with 0 to 1.
    """
    return run_command(workspace, [words[0], "--run", run_id, *words[1:]], on_progress)


def import_in_subprocess(workspace: Workspace, path: Path, name: str = "") -> BackboneCard:
    """Import a backbone, see core.models.import_backbone.import_backbone; it takes some seconds."""
    data = run_command(workspace, ["import-backbone", str(path.resolve()), f"--name={name}"])
    return load_card(Path(data["backbone"]["folder"]))


def run_command(
    workspace: Workspace, words: Sequence[str], on_progress: ProgressFn | None = None
) -> dict[str, Any]:
    """Run a command of Thaw in a process of its own and return the JSON object that it prints.

    The process ends with the caller: when the page that waits here is left, the command is stopped.

    Args:
        workspace: what the command works on.
        words: the command and its flags.
        on_progress: called with 0 to 1.

    Raises:
        BadInput, RunError: the command failed; the message is its own.
    """
    command = [sys.executable, "-m", "core", "--workspace", str(workspace.root), *words, "--json"]
    messages: list[str] = []
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
                    messages.append(line.rstrip())
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
    sentence = next(
        (line.removeprefix("thaw: ") for line in messages if line.startswith("thaw: ")), ""
    )
    if status == 2 and sentence:
        raise BadInput(sentence)
    raise RunError(
        sentence
        or f"The command {words[0]!r} ended with status {status}: {' '.join(messages[-3:])[:400]}"
    )
