"""Dataclasses as JSON and back; a value of another type is refused."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.data.read_options import ReadOptions
from core.data.reading.dialects import FileFormat, detect_format
from core.data.reading.read_rows import ReadSummary, RowsRequest
from core.files.typed_json import from_json, to_json
from tests.core.data.helpers import packed_tar, rows, text, write


def there_and_back(value: Any) -> Any:
    return from_json(type(value), json.loads(json.dumps(to_json(value))))


def test_what_the_readers_hand_over(tmp_path: Path) -> None:
    form = detect_format(
        write(tmp_path, packed_tar(("train.txt", text(rows(40))), ("test.txt", text(rows(30)))))
    )
    assert form.other_members and form.notes
    options = ReadOptions("a", {"I1": "x", "I2": 3, "C1": None}, ("k",))
    for value in (
        form,
        options,
        ReadOptions(),
        ReadSummary(True, 1, 0, 2, ("é",), (("?", 3),), False, ""),
    ):
        assert there_and_back(value) == value
    request = RowsRequest("a", "b", form, True, "optional")
    assert there_and_back(request) == request


def test_every_field_is_checked(tmp_path: Path) -> None:
    """Whatever another type is put in place of, at any depth, is refused."""
    values = json.loads(json.dumps(to_json(detect_format(write(tmp_path, text(rows(40)))))))
    assert from_json(FileFormat, values).dialect
    for name in values:
        for wrong in ({"a": 1}, [[[1]]], 1.5):
            with pytest.raises(ValueError, match="is"):
                from_json(FileFormat, values | {name: wrong})
    with pytest.raises(ValueError, match="is not a FileFormat"):
        from_json(FileFormat, values | {"more": 1})
    del values["dialect"]
    with pytest.raises(ValueError, match="is not a FileFormat"):
        from_json(FileFormat, values)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, True),
        (bool, 1),
        (str, None),
        (tuple[str, str], ["a"]),
        (tuple[str, ...], "ab"),
        (tuple[str, ...], ["a", 1]),
        (Mapping[str, int], {"a": "1"}),
        (dict[str, int], [1]),
        (int | None, 1.0),
        (list[int], {"a": 1}),
    ],
)
def test_what_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="type"):
        from_json(kind, value)


def test_what_is_taken() -> None:
    assert from_json(float, 1) == 1.0
    assert from_json(list[int], [1]) == [1]
    assert from_json(Mapping[str, int | None], {"a": None}) == {"a": None}  # type: ignore[type-abstract]
    assert not dataclasses.is_dataclass(from_json(dict[str, str], {"a": "b"}))
