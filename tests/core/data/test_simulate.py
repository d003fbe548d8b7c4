"""The simulator does what its docstring states."""

import gzip
import itertools
import warnings
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from core.data.generative_model import MISSING_SHARES, RECIPES, TOP_VALUE_SHARES
from core.data.reading.ingest import ingest
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
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
    """Rows of the source domain, and of each recipe's target domain."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder / "source", ROWS, "source", seed=11)
    for recipe in RECIPES:
        # Another seed: the same one would draw the same features again.
        simulate(folder / recipe, ROWS, "target", seed=12, recipe=recipe)
    return {name: frame(folder / name) for name in ("source", *RECIPES)}


def near(value: float, wanted: float, deviations: float = 5) -> bool:
    return abs(value - wanted) <= deviations * (max(wanted * (1 - wanted), 1e-4) / ROWS) ** 0.5


def test_shares_of_the_source(domains: dict[str, pd.DataFrame]) -> None:
    source = domains["source"]
    for rows in domains.values():
        assert near(rows[LABEL].mean(), 0.256)
    for columns, share in MISSING_SHARES.items():
        for column in columns:
            assert near(source[column].isna().mean(), share), column
    for column, share in TOP_VALUE_SHARES.items():
        counts = source[column].value_counts()
        assert near(counts.iloc[0] / ROWS, share), column
    complete = set(FIELDS).difference(*MISSING_SHARES)
    assert not source[sorted(complete)].isna().any(axis=None)


def test_marginals_of_the_source(domains: dict[str, pd.DataFrame]) -> None:
    source = domains["source"]
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
    "fields", [("C3", "C12", "C21", "C16", "C4", "C24"), ("C15", "C18", "C2"), ("C7", "C11", "C13")]
)
def test_a_value_of_a_nested_field_determines_that_of_its_parent(
    fields: tuple[str, ...], domains: dict[str, pd.DataFrame]
) -> None:
    for child, parent in itertools.pairwise(fields):
        parents = domains["source"].groupby(child)[parent].nunique()
        assert (parents == 1).all()
        assert parents.size > domains["source"][parent].nunique()


def test_shares_are_those_of_real_rows(real_rows: Path) -> None:
    real = frame(real_rows)
    for column, share in TOP_VALUE_SHARES.items():
        assert real[column].value_counts().iloc[0] / len(real) == pytest.approx(share, abs=1e-3)
    for columns, share in MISSING_SHARES.items():
        for column in columns:
            assert real[column].isna().mean() == pytest.approx(share, abs=1e-3), column


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


def logistic_regression(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Scores of a one-hot logistic regression on categories and buckets of ln(1 + x)^2."""

    def as_text(rows: pd.DataFrame) -> pd.DataFrame:
        buckets = np.floor(np.log1p(rows[list(NUMERIC)].clip(lower=0)) ** 2)
        return pd.concat([buckets, rows[list(CATEGORICAL)]], axis=1).astype(str)

    encoder = OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist")
    model = make_pipeline(encoder, LogisticRegression(C=0.1, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Categories unknown in training.
        return model.fit(as_text(train), train[LABEL]).predict_proba(as_text(test))[:, 1]


def gradient_boosting(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Scores of LightGBM on numeric fields, target statistics out of fold, and counts."""
    fields = list(CATEGORICAL)
    encoder = TargetEncoder(smooth=10, cv=KFold(5, shuffle=True, random_state=0))
    statistics = encoder.fit_transform(train[fields].fillna(""), train[LABEL])

    def features(rows: pd.DataFrame, statistics: np.ndarray) -> np.ndarray:
        # A training row itself does not count.
        own = int(rows is train)
        counts = [rows[name].map(train[name].value_counts()).fillna(own) - own for name in fields]
        return np.column_stack([rows[list(NUMERIC)], statistics, *counts])

    settings = {
        "objective": "binary",
        "num_leaves": 7,
        "learning_rate": 0.1,
        "min_data_in_leaf": 50,
        "seed": 0,
    }
    settings |= {"feature_fraction": 0.5, "lambda_l2": 10, "num_threads": 1, "verbose": -1}
    model = lightgbm.train(
        settings, lightgbm.Dataset(features(train, statistics), train[LABEL]), 150
    )
    return np.asarray(model.predict(features(test, encoder.transform(test[fields].fillna("")))))


def clicks_by(rows: pd.DataFrame, column: str) -> pd.Series:
    """Click rates of the ten most frequent values."""
    return rows.groupby(column)[LABEL].mean()[rows[column].value_counts().index[:10]]


def test_targets_differ_as_stated(domains: dict[str, pd.DataFrame]) -> None:
    source, ordinary, transfer = domains["source"], domains["ordinary"], domains["transfer"]
    normal = source["C9"].value_counts().index[0]
    assert near((ordinary["C9"] != normal).mean(), 0.12)
    assert near((transfer["C9"] != normal).mean(), 0.4)
    assert transfer["I6"].median() > 1.2 * source["I6"].median()
    unseen = {
        name: (~target["C15"].isin(set(source["C15"]))).mean()
        for name, target in (("ordinary", ordinary), ("transfer", transfer))
    }
    assert unseen["ordinary"] < 0.25 and 0.4 < unseen["transfer"] < 0.7
    for target in (ordinary, transfer):
        assert (~target["C14"].isin(set(source["C14"]))).mean() < 0.001
        assert (~target["C24"].isin(set(source["C24"]))).mean() > 0.04
    distance = {
        name: float((clicks_by(source, "C17") - clicks_by(rows, "C17")).abs().mean())
        for name, rows in (("ordinary", ordinary), ("transfer", transfer))
    }
    assert distance["ordinary"] < 0.03 < distance["transfer"]


def test_models_rank_as_on_real_rows(domains: dict[str, pd.DataFrame]) -> None:
    """Gradient boosting beats a one-hot logistic regression, by little.

    Networks take longer: `python -m benchmarks.fair --rows FILE` compares them too.
    """
    train, test = domains["source"], domains["ordinary"]
    linear = roc_auc_score(test[LABEL], logistic_regression(train, test))
    boosted = roc_auc_score(test[LABEL], gradient_boosting(train, test))
    assert 0.72 < linear < boosted < min(0.78, linear + 0.02)


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a.gz", 1), ("b.gz", 1), ("c.gz", 2)):
        simulate(tmp_path / name, 500, "both", seed)
    first, second, other = ((tmp_path / name).read_bytes() for name in ("a.gz", "b.gz", "c.gz"))
    assert first == second != other
    simulate(tmp_path / "d.gz", 500, "both", 1, recipe="transfer")
    ordinary, transfer = (
        gzip.decompress((tmp_path / name).read_bytes()).splitlines() for name in ("a.gz", "d.gz")
    )
    assert ordinary[:300] == transfer[:300] and ordinary[300:] != transfer[300:]
    simulate(tmp_path / "plain", 500, "both", 1)
    assert gzip.decompress(first) == (tmp_path / "plain").read_bytes()


def test_both_domains_in_one_file_that_ingest_reads(tmp_path: Path, workspace: Workspace) -> None:
    shares: list[float] = []
    simulate(tmp_path / "both.tsv", 1000, "both", 5, shares.append, "transfer")
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
    with pytest.raises(BadInput, match="recipe is 'easy'"):
        simulate(tmp_path / "x", 5, recipe="easy")
    assert not list(tmp_path.iterdir())
