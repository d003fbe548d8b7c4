"""Replace the processes that pages start by calls in this process."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from core.runs.subprocess_commands import ProgressFn
from core.workspace import Workspace


@pytest.fixture
def commands_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in this process, before the page that starts one is drawn again."""
    from core.cli.parser import build_parser
    from core.runs import tasks

    def run(
        workspace: Workspace, words: Sequence[str], on_progress: ProgressFn | None = None
    ) -> dict[str, Any]:
        if on_progress:
            on_progress(0.5)
        options = build_parser().parse_args(words)
        return options.run(workspace, options).data

    class Now:
        def __init__(
            self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool
        ) -> None:
            self.start = lambda: target(*args)

    monkeypatch.setattr("core.runs.subprocess_commands.run_command", run)
    monkeypatch.setattr(tasks, "threading", SimpleNamespace(Thread=Now))
    monkeypatch.setattr(tasks, "_tasks", {})
