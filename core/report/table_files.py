"""Tables as files: Parquet, and CSV that no spreadsheet can mistake for formulas."""

from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import BadInput
from core.files.outputs import write_output

SUFFIXES = (".csv", ".parquet")
_FORMULA_PREFIXES = ("=", "+", "-", "@")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table to `path`, as CSV or Parquet by its suffix.

    Raises:
        BadInput: another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(
            f"The file {str(path)!r} ends in {path.suffix!r}; name one that ends in"
            f" {' or '.join(SUFFIXES)}."
        )
    if path.suffix == ".csv":
        write_output(path, lambda part: part.write_text(to_safe_csv(table), encoding="utf-8"))
    else:
        write_output(path, lambda part: table.to_parquet(part, index=False))


def to_safe_csv(table: pd.DataFrame) -> str:
    """Return the table as CSV in which no text cell can run as a formula of a spreadsheet."""

    def guard(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # A lone carriage return is left unquoted by pandas, and begins a new row.
        value = value.replace("\r", " ")
        return (
            f"'{value}"
            if value.lstrip().startswith(_FORMULA_PREFIXES) or value[:1] == "\t"
            else value
        )

    return table.map(guard).to_csv(index=False)
