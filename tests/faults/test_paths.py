"""Paths that people name: whatever is there, and however long the path is, a command ends at once
with a message."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.cli.parser import main
from core.data.datasets import find_dataset
from core.jobs.run_result import result_from_json
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.workspace import Workspace
from tests.core.data.helpers import rows, text, write

LONG = "a" * 5000


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def _looped(path: Path) -> None:
    path.symlink_to(path)


def _linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to(path.with_name("pipe"))


MADE: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to a pipe": _linked_pipe,
    "a socket": _socket,
    "a device that never ends": lambda path: path.symlink_to("/dev/zero"),
    "standard input": lambda path: path.symlink_to("/dev/stdin"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": _looped,
    "an empty file": lambda path: path.touch(),
}
NAMED = (LONG, f"{LONG}/rows.tsv", "~" * 300, ".", "..", "/", "ro\nws", "🙂" * 100, " ", "-" * 300)
PRETRAIN = ("--dataset", "tiny", "--name", "x", "--architecture")
COMMANDS = {
    "ingest": ["ingest", "PATH", "--name", "x"],
    "columns": ["ingest", "ROWS", "--name", "x", "--columns", "PATH"],
    "score": ["score", "--run", "RUN", "--input", "PATH", "--output", "OUT"],
    "import-backbone": ["import-backbone", "PATH"],
    "vectors": ["pretrain", *PRETRAIN, "dnn", "--start", "vectors", "--start-file", "PATH"],
    "weights": ["pretrain", *PRETRAIN, "vgg19", "--start", "weights", "--start-file", "PATH"],
}
RESULT: dict[str, object] = dict.fromkeys(
    ("trained_parameters", "train_rows", "best_epoch", "epochs_run"), 1
)
RESULT |= {
    "threshold": 0.5,
    "metrics": {},
    "backbone": "simulated-dnn",
    "seconds": {"total": 1.0},
    "device": "CPU",
}
RESULT |= {"stages": []}
OUTPUTS = {
    "score": ["score", "--run", "RUN", "--input", "ROWS", "--output", "PATH"],
    "simulate": ["simulate", "--rows", "50", "--out", "PATH"],
    "export-backbone": ["export-backbone", "--backbone", "simulated-dnn", "--out", "PATH"],
    "runs": ["runs", "--out", "PATH.csv"],
    "report": ["report", "--runs", "RUN", "--out", "PATH"],
    "export": ["export", "--run", "RUN", "--out", "PATH"],
    "export-tracking": ["export-tracking", "--run", "RUN", "--format", "mlflow", "--out", "PATH"],
}


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """A command that waits for a pipe would wait for ever."""

    def give_up(*_: object) -> None:
        raise TimeoutError("the command hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def home(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace that no command here changes, and a run in it that says it is done."""
    import shutil

    from core.jobs.requests import FinetuneRequest

    workspace = Workspace(tmp_path_factory.mktemp("paths") / "workspace")
    shutil.copytree(tiny_template, workspace.root)
    store = RunStore(workspace)
    request = FinetuneRequest(
        find_dataset(workspace, "tiny").id, find_backbone(workspace, "simulated-dnn").id
    )
    run = store.submit(request, "a run", "cpu")
    store.claim("cpu", 1)
    store.finish(run.id, "done", result=result_from_json(RESULT))
    shutil.copytree(
        find_backbone(workspace, "simulated-dnn").folder, workspace.runs / run.id / "model"
    )
    return workspace, run.id


def give(
    home: tuple[Workspace, str], tmp_path: Path, words: list[str], path: str
) -> tuple[list[str], int]:
    """Gives a command with `path` in place of PATH: (its words, its exit status)."""
    good = write(tmp_path, text(rows(60)), "good.tsv")
    places = {"RUN": home[1], "ROWS": str(good), "OUT": str(tmp_path / "out.csv")}
    words = [places.get(word, word.replace("PATH", path)) for word in words]
    try:
        return words, main(["--workspace", str(home[0].root), *words])
    except SystemExit as error:
        # So does argparse end.
        return words, error.code  # type: ignore[return-value]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", MADE)
def test_a_path_that_is_not_a_file_is_refused_with_a_message(
    what: str,
    command: str,
    home: tuple[Workspace, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "it.h5"
    MADE[what](path)
    monkeypatch.chdir(tmp_path)
    words, status = give(home, tmp_path, COMMANDS[command], str(path))
    said = capsys.readouterr().err
    assert status == 2 and said.startswith("thaw: ") and "Traceback" not in said, (words, said)
    assert "it.h5" in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", NAMED, ids=lambda name: name[:5].encode("unicode_escape").decode())
def test_any_name_is_refused_with_a_short_message(
    name: str,
    command: str,
    home: tuple[Workspace, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _, status = give(home, tmp_path, COMMANDS[command], name)
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said
    assert len(said.splitlines()[-1]) < 1000


@pytest.mark.parametrize("command", OUTPUTS)
@pytest.mark.parametrize(
    "name", [LONG, f"{LONG}/x", "file/x", "loop", "loop/x"], ids=lambda name: name[:6]
)
def test_an_output_that_cannot_be_is_refused_with_a_short_message(
    name: str,
    command: str,
    home: tuple[Workspace, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    _looped(Path("loop"))
    _looped(Path("loop.csv"))
    before = sorted(tmp_path.rglob("*"))
    _, status = give(home, tmp_path, OUTPUTS[command], name)
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said, said
    assert len(said.splitlines()[-1]) < 1000
    assert {*sorted(tmp_path.rglob("*"))} - {*before} <= {tmp_path / "good.tsv"}


def test_a_pipe_that_nobody_reads_is_refused_as_output(
    home: tuple[Workspace, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    _, status = give(home, tmp_path, OUTPUTS["simulate"], str(tmp_path / "pipe"))
    assert status == 2 and "nobody reads" in capsys.readouterr().err
