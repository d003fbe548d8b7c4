"""Controls fitted on several choices of rows: an arm for each of source, target and both."""

from collections.abc import Mapping, Sequence

from core.errors import BadInput
from core.freezing.strategies import ROW_CHOICES, STRATEGIES
from core.runs.sweep import Arm

ROWS_OPTION = "rows"
"""The option of a control that says which rows it is fitted on."""


def has_row_choice(strategy: str) -> bool:
    """Whether a strategy can be fitted on source rows, on target rows or on both.

    >>> has_row_choice("gradient-boosting"), has_row_choice("scratch"), has_row_choice("lora")
    (True, False, False)
    """
    return strategy in STRATEGIES and ROWS_OPTION in STRATEGIES[strategy].options


def arms_on_rows(strategy: str, rows: Sequence[str]) -> tuple[Arm, ...]:
    """Return an arm of a control for each choice of rows.

    A single default choice is left out of the title, several are all named.

    Raises:
        BadInput: the strategy has no choice of rows, or `rows` is empty or names another one.

    >>> [arm.title for arm in arms_on_rows("gradient-boosting", ["both"])]
    ['gradient boosting']
    >>> [arm.title for arm in arms_on_rows("gradient-boosting", ["source", "both"])]
    ['gradient boosting, source rows', 'gradient boosting, source and target rows']
    """
    if not has_row_choice(strategy):
        known = [name for name in STRATEGIES if has_row_choice(name)]
        raise BadInput(
            f"Rows are chosen for {strategy!r}; the controls that have a choice of rows are"
            f" {known}."
        )
    if not rows:
        raise BadInput(
            f"No rows are chosen for {STRATEGIES[strategy].title!r}; name some of"
            f" {[*ROW_CHOICES]}, or leave the control out."
        )
    default = STRATEGIES[strategy].options[ROWS_OPTION].default
    if [*rows] == [default]:
        return (Arm(strategy),)
    return tuple(Arm(strategy, 0, {ROWS_OPTION: one}) for one in rows)


def with_control_rows(arms: Sequence[Arm], chosen: Mapping[str, Sequence[str]]) -> tuple[Arm, ...]:
    """Return the arms with the named controls on these rows.

    They take the place of the control's first arm, or the last place where it is no arm yet.

    Args:
        arms: of a sweep.
        chosen: by control, some of `ROW_CHOICES`.

    >>> found = with_control_rows([Arm("gradient-boosting"), Arm("full")],
    ...                           {"gradient-boosting": ["source", "target"]})
    >>> [arm.title for arm in found]
    ['gradient boosting, source rows', 'gradient boosting, target rows', 'full fine-tuning']
    """
    by_control = {strategy: arms_on_rows(strategy, rows) for strategy, rows in chosen.items()}
    found: dict[str, tuple[Arm, ...]] = {}
    for place, arm in enumerate(arms):
        if arm.strategy in by_control:
            found[arm.strategy] = by_control[arm.strategy]
        else:
            found[f"{place}"] = (arm,)
    return tuple(arm for group in (found | by_control).values() for arm in group)


def control_rows_of(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """Return the choices of rows that are named by the options of arms, by control.

    >>> control_rows_of([Arm("full"), *arms_on_rows("retrain", ["source", "both"])])
    {'retrain': ['source', 'both']}
    """
    found: dict[str, list[str]] = {}
    for arm in arms:
        if ROWS_OPTION in arm.options:
            found.setdefault(arm.strategy, []).append(arm.options[ROWS_OPTION])
    return found
