"""Everything in a workspace is private to its owner, whatever the umask; outputs follow the user's
umask."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.files.outputs import output_folder, write_output
from core.files.permissions import private_files, user_umask
from core.workspace import PROJECT, Workspace, open_workspace, write_json


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """That of a user who lets the group read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def rights(root: Path) -> set[str]:
    """Of the root and all below it that others may do anything with."""
    return {
        f"{path.relative_to(root)} {path.stat().st_mode & 0o777:o}"
        for path in (root, *root.rglob("*"))
        if path.stat().st_mode & 0o077
    }


def test_a_new_workspace_is_private_without_any_help(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "a" / "workspace")
    write_json(workspace.runs / "r-1" / "result.json", {})
    assert rights(workspace.root) == set()


def test_a_workspace_of_an_earlier_version_is_closed_when_it_is_opened(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    (root / "samples" / "s-1").mkdir(parents=True)
    (root / "samples" / "s-1" / "rows.arrow").touch()
    (root / "thaw.sqlite").touch()
    (root / "worker-cpu.lock").touch()
    assert rights(root)
    open_workspace(root)
    assert rights(root) == set()


def test_files_of_others_beside_a_workspace_keep_their_permissions(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    (root / "theirs").mkdir(parents=True)
    (root / "link").symlink_to(root / "theirs")
    open_workspace(root)
    assert rights(root) == {". 755", "theirs 755", "link 755"}


def test_an_output_has_the_users_rights_inside_a_private_process(tmp_path: Path) -> None:
    with private_files():
        assert user_umask() == 0o022
        write_output(tmp_path / "new" / "out.csv", lambda part: part.write_text("x"))
        with output_folder(tmp_path / "folder") as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / "file").touch()
    modes = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")
    }
    assert modes == {
        "new": 0o755,
        "new/out.csv": 0o644,
        "folder": 0o755,
        "folder/inner": 0o755,
        "folder/inner/file": 0o644,
    }
    assert os.umask(0o022) == 0o022, "the process has its own umask again"


def test_a_round_of_commands_leaves_nothing_that_others_may_read(tmp_path: Path) -> None:
    root, rows, scores = tmp_path / "workspace", tmp_path / "rows.tsv.gz", tmp_path / "scores.csv"

    def thaw(*words: object) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "core",
            "--workspace",
            str(root),
            *map(str, words),
            "--json",
        ]
        environment = {**os.environ, "THAW_WORKER_LINGER": "2"}
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.PIPE
        )
        return dict(json.loads(done.stdout))

    thaw("simulate", "--rows", 400, "--domain", "both", "--out", rows)
    thaw("ingest", rows, "--name", "rows", "--simulated")
    training = [
        "--backbone",
        "Simulated DNN",
        "--freeze-depth",
        "3",
        "--epochs",
        "1",
        "--device",
        "cpu",
    ]
    run = thaw("finetune", "--dataset", "rows", *training)["run"]
    thaw(
        "score",
        "--run",
        run["id"] if isinstance(run, dict) else run,
        "--input",
        rows,
        "--output",
        scores,
    )
    workspace = Workspace(root)
    assert [*workspace.logs.iterdir()] and workspace.database.exists()
    assert [*workspace.runs.glob("*/model/model.safetensors")]
    assert rights(root) == set()
    assert {path.stat().st_mode & 0o777 for path in (rows, scores)} == {0o644}
