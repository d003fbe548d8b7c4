"""JSON in the workspace: NaN is never written, and what older versions wrote of it is read as missing."""

import json
from pathlib import Path

import numpy as np

from core.command_output import Result
from core.workspace import read_json, without_nan, write_json

NAN = float("nan")
VALUE = {"auc": NAN, "parts": [{"low": np.float64("nan"), "high": float("inf")}, (0.5, 1, "nan", True, None)]}
MISSING = {"auc": None, "parts": [{"low": None, "high": None}, [0.5, 1, "nan", True, None]]}


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "it.json", VALUE)
    assert read_json(tmp_path / "it.json") == MISSING == without_nan(VALUE)
    assert VALUE["auc"] is NAN, "what is given is not changed"


def test_nan_of_older_versions_is_read_as_missing(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text('{"auc": NaN, "low": -Infinity, "rows": 3}')
    assert read_json(tmp_path / "it.json") == {"auc": None, "low": None, "rows": 3}


def test_what_a_command_prints_as_json_any_parser_reads() -> None:
    assert json.dumps(Result(VALUE, "text").data, allow_nan=False) == json.dumps(MISSING)
