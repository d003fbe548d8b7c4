"""The columns of a Criteo sample, and the dialects it comes in."""

from dataclasses import dataclass

LABEL = "label"
ID = "id"
"""Key of a column mapping for the column that identifies a row; scoring copies it to its output."""
NUMERIC = tuple(f"I{number}" for number in range(1, 14))
CATEGORICAL = tuple(f"C{number}" for number in range(1, 27))
FIELDS = NUMERIC + CATEGORICAL
"""The 39 features, in file order."""


@dataclass(frozen=True)
class Dialect:
    """A form in which Criteo rows come. `labelled` is None if files may or may not have labels."""

    title: str
    description: str
    labelled: bool | None


DIALECTS: dict[str, Dialect] = {
    "kaggle-train": Dialect(
        "Kaggle DAC train.txt", "40 tab-separated columns without a header, label first", True
    ),
    "kaggle-test": Dialect(
        "Kaggle DAC test.txt",
        "39 tab-separated columns without label or header: scoring only",
        False,
    ),
    "criteo-1tb": Dialect(
        "Criteo 1TB day file", "40 tab-separated columns without a header, label first", True
    ),
    "csv": Dialect(
        "CSV with a header", "columns label, I1 to I13, C1 to C26 in any order, Id optional", None
    ),
    "delimited": Dialect(
        "Text without a header", "40 columns, label first, or 39 without the label", None
    ),
    "parquet": Dialect(
        "Parquet", "columns label, I1 to I13, C1 to C26 in any order, Id optional", None
    ),
    "arrow": Dialect(
        "Feather or Arrow IPC",
        "columns label, I1 to I13, C1 to C26 in any order, Id optional",
        None,
    ),
}
