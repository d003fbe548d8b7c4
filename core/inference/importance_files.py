"""Permutation importance as a run's folder stores it; read by pages and reports without torch."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import Damaged
from core.stored import load_stored, parse_stored
from core.workspace import Workspace

BACKBONE = "backbone"
"""Stands for the run's backbone where two models are compared."""
_ADVICE = "compute it again"


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over test rows.

    Args:
        value: the estimate.
        low, high: both ends; None where the rows define none.
        permutation_error: standard error of `value` over permutations of these same rows; None
            with a single permutation.
    """

    value: float
    low: float | None
    high: float | None
    permutation_error: float | None


@dataclass(frozen=True)
class FieldImportance:
    """How much worse a model is once a field's values are permuted among the test rows.

    Args:
        field: its name.
        log_loss: increase in log loss, in nats per row.
        auc: decrease in AUC; None where a class is absent.
    """

    field: str
    log_loss: Estimate
    auc: Estimate | None


@dataclass(frozen=True)
class Importance:
    """The importance of every field for a run, or the difference from another model.

    Args:
        run: its id.
        against: "" for the run alone; else "backbone" or the id of the run whose importance is
            subtracted.
        fields: in the order of the columns.
        rows: target test rows.
        permutations: of every field.
        seed: of the permutations.
        seconds: how long it took.
        device: on which it was computed.
    """

    run: str
    against: str
    fields: tuple[FieldImportance, ...]
    rows: int
    permutations: int
    seed: int
    seconds: float
    device: str

    def ranked(self) -> list[FieldImportance]:
        """Return the fields by size of the log-loss change, largest first."""
        return sorted(self.fields, key=lambda one: -abs(one.log_loss.value))


def importance_path(workspace: Workspace, run_id: str, against: str = "") -> Path:
    """Return the file of a run's importance."""
    name = f"importance-{against}.json" if against else "importance.json"
    return workspace.runs / run_id / name


def read_importance(workspace: Workspace, run_id: str, against: str = "") -> Importance | None:
    """Return what `core.inference.importance` stored; None if nothing or it is damaged."""
    path = importance_path(workspace, run_id, against)
    if not path.exists():
        return None
    with suppress(Damaged):
        return load_stored(path, _ADVICE, lambda values: parse_stored(Importance, values))
    return None


def importance_sentence(found: Importance, count: int = 3) -> str:
    """Say which fields matter, by intervals that do not contain 0."""
    clear = [
        one
        for one in found.ranked()
        if one.log_loss.low is not None
        and one.log_loss.high is not None
        and (one.log_loss.low > 0 or one.log_loss.high < 0)
    ]
    total = len(found.fields)
    if not clear:
        return f"The 95 % interval of each of the {total} fields contains 0."
    shown = ", ".join(f"{one.field} ({one.log_loss.value:+.4f})" for one in clear[:count])
    what = "importance differs most in" if found.against else "log loss rises most for"
    return (
        f"The {what} {shown} nats per row; the 95 % intervals of {total - len(clear)} of {total}"
        " fields contain 0."
    )
