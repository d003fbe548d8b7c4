"""Sentences about columns whose values the model does not know."""

from collections.abc import Sequence

from core.data.schema import CATEGORICAL, FIELDS
from core.inference.unknown_values import UnknownColumn


def unknown_sentences(columns: Sequence[UnknownColumn]) -> list[str]:
    """Return one sentence for all columns that are unknown for the same kind of reason.

    Reasons that concern most columns come first.
    """
    groups: dict[str, list[UnknownColumn]] = {}
    for column in columns:
        # "column:C7" and "column:C8" are of one kind, as are two texts added before the values.
        groups.setdefault(column.reason.partition(":")[0], []).append(column)
    return [_sentence(group) for group in sorted(groups.values(), key=len, reverse=True)]


def _sentence(columns: list[UnknownColumn]) -> str:
    first, rows = columns[0], sum(column.rows for column in columns)
    names = format_fields([column.field for column in columns])
    where = (
        f"{names} ({len(columns)} of {len(CATEGORICAL)} categorical columns)"
        if len(columns) > 3
        else names
    )
    where += f", such as {_shorten(first.example)},"
    known, expected = (
        sum(getattr(column, name) for column in columns) / rows for name in ("known", "expected")
    )
    start = (
        f"Only {known:.0%} of the values of {where} are known to this model, where {expected:.0%}"
        " were in training: "
        if known
        else f"No value of {where} is known to this model: "
    )
    if first.reason.startswith("column:"):
        return start + f"{_describe_swaps(columns)} Are the columns in another order?"
    alike = all((column.file, column.model) == (first.file, first.model) for column in columns)
    if first.reason == "another_hash":
        looks = first.model if alike else f"in {first.field} {first.model}"
        return (
            start
            + f"they look like the model's ({looks}), so they come from another hash or data set."
            " The scores hardly use these columns; use a model that was trained on such values."
        )
    if first.reason == "another_spelling":
        where = "The" if alike else f"In {first.field}, for example, the"
        return (
            start + f"another spelling or another hash. {where} file has {first.file}, the model"
            f" {first.model}. The scores hardly use these columns."
        )
    has = (
        f"the file has {'them' if alike else f'those of {first.field}'} {first.file}, the model"
        f" {first.model}"
    )
    likewise = "" if alike else ", and likewise in the other columns"
    return start + f"{has}{likewise}. Write them as the model has them, then score the file again."


def _describe_swaps(columns: list[UnknownColumn]) -> str:
    """Return which columns hold whose values; names at most three of them."""
    pairs = [(column.field, column.reason.removeprefix("column:")) for column in columns]
    if len(pairs) == 1:
        return f"they are values of {pairs[0][1]}."
    shown = [f"{field} has those of {other}" for field, other in pairs[:3]]
    if len(pairs) > 3:
        return f"they are values of other columns ({', '.join(shown)} and so on)."
    return f"they are values of other columns ({', '.join(shown[:-1])} and {shown[-1]})."


def format_fields(fields: Sequence[str]) -> str:
    """Return the fields as a list in words, three or more neighbours as a range; "" for none.

    >>> format_fields(["C1", "C3", "C4", "C5", "C9"])
    'C1, C3 to C5 and C9'
    """
    if not fields:
        return ""
    runs: list[list[str]] = []
    for field in fields:
        follows = runs and FIELDS.index(field) == FIELDS.index(runs[-1][-1]) + 1
        runs[-1].append(field) if follows else runs.append([field])
    texts = [text for run in runs for text in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else run)]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _shorten(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")
