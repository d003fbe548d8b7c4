"""The simulator does what its docstring states."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.data.reading.ingest import ingest
from core.data.schema import FIELDS, LABEL
from core.data.simulate import simulate
from core.errors import BadInput
from core.workspace import Workspace

ROWS = 20_000


def frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(
        path,
        sep="\t",
        header=None,
        names=[LABEL, *FIELDS],
        dtype={f"C{i}": str for i in range(1, 27)},
    )


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("simulated")
    for domain in ("source", "target"):
        simulate(folder / domain, ROWS, domain, seed=11)
    return {domain: frame(folder / domain) for domain in ("source", "target")}


def near(value: float, wanted: float, deviations: float = 5) -> bool:
    return abs(value - wanted) <= deviations * (max(wanted * (1 - wanted), 1e-4) / ROWS) ** 0.5


def test_marginals_of_the_source(domains: dict[str, pd.DataFrame]) -> None:
    source = domains["source"]
    assert near(source[LABEL].mean(), 0.256)
    for column, share in {
        "I1": 0.45,
        "I3": 0.21,
        "I12": 0.765,
        "C3": 0.034,
        "C6": 0.12,
        "C20": 0.44,
        "C22": 0.76,
    }.items():
        assert near(source[column].isna().mean(), share), column
    for column, share in {
        "C1": 0.50,
        "C5": 0.67,
        "C8": 0.59,
        "C9": 0.90,
        "C10": 0.22,
        "C17": 0.46,
        "C23": 0.44,
    }.items():
        assert near(source[column].value_counts(normalize=True).iloc[0], share), column
    for column, (median, p99) in {
        "I1": (1, 39),
        "I5": (2796, 345908),
        "I6": (32, 1323),
        "I9": (39, 1003),
    }.items():
        assert source[column].median() == pytest.approx(median, rel=0.1)
        assert source[column].quantile(0.99) == pytest.approx(p99, rel=0.2)
    assert source["I2"].min() == -3
    assert source["C1"].str.fullmatch("[0-9a-f]{8}").all()
    assert source["C20"].nunique() <= 4 and source["C3"].nunique() > 5000


@pytest.mark.parametrize(
    "group",
    [
        ("I1", "I10"),
        ("I4", "I13"),
        ("I7", "I9", "I11"),
        ("C3", "C4", "C12", "C16", "C21", "C24"),
        ("C19", "C26"),
    ],
)
def test_columns_go_missing_together(
    group: tuple[str, ...], domains: dict[str, pd.DataFrame]
) -> None:
    missing = domains["source"][list(group)].isna()
    assert (missing.any(axis=1) == missing.all(axis=1)).all()


def test_target_differs_as_stated(domains: dict[str, pd.DataFrame]) -> None:
    source, target = domains["source"], domains["target"]
    normal = source["C9"].value_counts().index[0]
    assert near((target["C9"] != normal).mean(), 0.4)
    assert target["I6"].median() > 1.2 * source["I6"].median()
    new = ~target["C15"].isin(set(source["C15"]))
    assert 0.35 < new.mean() < 0.7
    assert (~target["C14"].isin(set(source["C14"]))).mean() < 0.001


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a.gz", 1), ("b.gz", 1), ("c.gz", 2)):
        simulate(tmp_path / name, 500, "both", seed)
    first, second, other = ((tmp_path / name).read_bytes() for name in ("a.gz", "b.gz", "c.gz"))
    assert first == second != other
    simulate(tmp_path / "plain", 500, "both", 1)
    assert gzip.decompress(first) == (tmp_path / "plain").read_bytes()


def test_both_domains_in_one_file_that_ingest_reads(tmp_path: Path, workspace: Workspace) -> None:
    shares: list[float] = []
    simulate(tmp_path / "both.tsv", 1000, "both", 5, shares.append)
    sample = ingest(workspace, tmp_path / "both.tsv", "both", simulated=True)
    assert (sample.rows, sample.simulated, sample.bad_rows) == (1000, True, 0)
    rows = frame(tmp_path / "both.tsv")
    normal = rows["C9"].value_counts().index[0]
    abnormal = np.asarray(rows["C9"] != normal)
    assert abnormal[:600].mean() < 0.2 < 0.3 < abnormal[600:].mean()
    assert shares[-1] == 1.0


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="number of rows is 0"):
        simulate(tmp_path / "x", 0)
    with pytest.raises(BadInput, match="domain is 'elsewhere'"):
        simulate(tmp_path / "x", 5, "elsewhere")
    assert not list(tmp_path.iterdir())
