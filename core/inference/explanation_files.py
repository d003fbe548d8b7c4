"""One row explained and response curves, as a run's folder stores them; read without torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput, Damaged
from core.files.typed_json import to_json
from core.stored import load_stored, parse_stored
from core.workspace import Workspace, hash_json, write_json

Value = float | str | None
"""Of a field: a number, a category, None if missing."""
REFERENCES = {
    "typical": "median and most frequent values of the test rows",
    "missing": "all values missing",
}
"""Rows that a row can be compared with, and what they are."""
_FOLDER = "explanations"
_ADVICE = "compute it again"
T = TypeVar("T")


@dataclass(frozen=True)
class FieldEffect:
    """What a field's value does to a row's logit, against the reference.

    Args:
        field: its name.
        value, reference: in the row and in the reference row.
        occlusion: logit of the row minus its logit with the field's value of the reference.
        gradient: integrated gradient of the field; None where the model has no gradient.
        occlusion_before: occlusion of the backbone; None without one that scores clicks.
    """

    field: str
    value: Value
    reference: Value
    occlusion: float
    gradient: float | None
    occlusion_before: float | None


@dataclass(frozen=True)
class RowExplanation:
    """One row explained.

    Args:
        run: its id.
        row: number in the dataset; None for a row of given values.
        label: of the row; None if unknown.
        changed: names of the fields whose value was edited.
        reference: one of REFERENCES.
        score, reference_score: click probabilities of the row and of the reference row.
        score_before, reference_before: the same of the backbone.
        fields: in the order of the columns.
        completeness_gap: sum of the integrated gradients minus the difference of the two logits.
        steps: of the integral.
    """

    run: str
    row: int | None
    label: int | None
    changed: tuple[str, ...]
    reference: str
    score: float
    reference_score: float
    score_before: float | None
    reference_before: float | None
    fields: tuple[FieldEffect, ...]
    completeness_gap: float | None
    steps: int

    def ranked(self) -> list[FieldEffect]:
        """Return the fields by size of their occlusion, largest first."""
        return sorted(self.fields, key=lambda one: -abs(one.occlusion))


@dataclass(frozen=True)
class Response:
    """Mean score of sampled rows whose field is set to one value after another.

    Args:
        run: its id.
        field: its name.
        values: that it was set to.
        shares: of the test rows with the value, for a category; 0 for quantiles of a number.
        mean: mean score at each value.
        low, high: 95 % interval of the mean over rows.
        before: mean score of the backbone; None without one that scores clicks.
        lines: scores of single rows at each value, ``(n_lines, n_values)``.
        rows: sampled test rows.
    """

    run: str
    field: str
    values: tuple[Value, ...]
    shares: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    before: tuple[float, ...] | None
    lines: tuple[tuple[float, ...], ...]
    rows: int


def require_field(field: str) -> str:
    """Return the field; raise BadInput if there is none of that name."""
    if field not in FIELDS:
        raise BadInput(f"There is no field {field[:40]!r}; choose one of I1 to I13, C1 to C26.")
    return field


def checked_values(values: Mapping[str, object]) -> dict[str, Value]:
    """Return values of fields as rows hold them; None and "" are missing.

    Raises:
        BadInput: there is no such field, or the value of a numeric one is not a number.

    >>> checked_values({"I1": "3", "C1": None})
    {'I1': 3.0, 'C1': None}
    """
    found: dict[str, Value] = {}
    for field, value in values.items():
        require_field(str(field))
        if value is None or value == "":
            found[field] = None
        elif field not in NUMERIC:
            found[field] = str(value)
        else:
            try:
                number = float(str(value))
            except ValueError:
                number = float("nan")
            if not abs(number) < float("inf"):
                raise BadInput(f"The value of {field} is {str(value)[:40]!r}; it must be a number.")
            found[field] = number
    return found


def explanation_key(row: int | None, values: Mapping[str, Value], reference: str) -> str:
    """Return the name under which the explanation of a row is stored."""
    return f"row-{hash_json([row, dict(sorted(values.items())), reference])[:16]}"


def response_key(field: str) -> str:
    """Return the name under which a field's response is stored."""
    return f"response-{require_field(field)}"


def explanation_path(workspace: Workspace, run_id: str, key: str) -> Path:
    """Return the file of an explanation or response."""
    return workspace.runs / run_id / _FOLDER / f"{key}.json"


def store(workspace: Workspace, run_id: str, key: str, found: object) -> None:
    """Store an explanation or response."""
    path = explanation_path(workspace, run_id, key)
    path.parent.mkdir(exist_ok=True)
    write_json(path, to_json(found))


def read(kind: type[T], workspace: Workspace, run_id: str, key: str) -> T | None:
    """Return what was stored; None if there is nothing or it is damaged."""
    path = explanation_path(workspace, run_id, key)
    if not path.exists():
        return None
    with suppress(Damaged):
        return load_stored(path, _ADVICE, lambda values: parse_stored(kind, values))
    return None
