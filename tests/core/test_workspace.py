"""The workspace's folder, and JSON in it: NaN is never written, and what older versions wrote of it
is missing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from core.cli.output import CommandResult
from core.errors import BadInput
from core.workspace import nan_to_none, open_workspace, read_json, write_json

NAN = float("nan")
VALUE = {
    "auc": NAN,
    "parts": [{"low": np.float64("nan"), "high": float("inf")}, (0.5, 1, "nan", True, None)],
}
MISSING = {"auc": None, "parts": [{"low": None, "high": None}, [0.5, 1, "nan", True, None]]}


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "it.json", VALUE)
    assert read_json(tmp_path / "it.json") == MISSING == nan_to_none(VALUE)
    assert VALUE["auc"] is NAN, "what is given is not changed"


def test_nan_of_older_versions_is_read_as_missing(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text('{"auc": NaN, "low": -Infinity, "rows": 3}')
    assert read_json(tmp_path / "it.json") == {"auc": None, "low": None, "rows": 3}


def test_what_a_command_prints_as_json_any_parser_reads() -> None:
    assert json.dumps(CommandResult(VALUE, "text").data, allow_nan=False) == json.dumps(MISSING)


@pytest.mark.parametrize(
    "name", ["loop", "~nobody-of-this-name/thaw", os.fsdecode(b"no-utf8-\xff")]
)
def test_a_folder_that_cannot_be_named_is_refused_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(BadInput, match="THAW_HOME"):
        open_workspace(name)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]
