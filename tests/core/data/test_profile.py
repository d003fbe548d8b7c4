"""Profiles and drift compared with pandas, on simulated rows and on unusual columns."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.data import drift, profile
from core.data.datasets import Dataset, load_parts
from core.data.drift import measure_drift
from core.data.prepare import prepare
from core.data.preprocessing import log_transform
from core.data.profile import N_TOP_VALUES, QUANTILES, ColumnProfile, profile_columns
from core.data.reading.ingest import ingest
from core.data.samples import Sample, find_sample, read_sample_rows
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.simulate import simulate
from core.data.split import SPLIT_PARTS, SplitSpec
from core.errors import BadInput
from core.workspace import Workspace


@pytest.fixture
def sample(tiny: tuple[Workspace, Dataset]) -> Sample:
    return find_sample(tiny[0], "tiny")


@pytest.fixture
def rows(sample: Sample) -> pd.DataFrame:
    return read_sample_rows(sample).to_pandas()


def test_every_column_agrees_with_pandas(sample: Sample, rows: pd.DataFrame) -> None:
    profiles = profile_columns(sample)
    assert tuple(found.name for found in profiles) == FIELDS
    for found in profiles:
        column = rows[found.name]
        assert found.missing_share == pytest.approx(column.isna().mean())
        assert found.cardinality == column.nunique()
        counts = column.value_counts()
        assert [number for _, number in found.top_values] == counts.head(N_TOP_VALUES).tolist()
        for value, number in found.top_values:
            key = float(value) if found.kind == "numeric" else value
            assert counts[key] == number


def test_numeric_columns_have_quantiles_and_a_histogram_of_the_log(
    sample: Sample, rows: pd.DataFrame
) -> None:
    for found in profile_columns(sample):
        if found.name in CATEGORICAL:
            assert (found.quantiles, found.edges, found.counts) == ((), (), ())
            continue
        present = rows[found.name].dropna()
        assert found.quantiles == pytest.approx(present.quantile(QUANTILES).tolist())
        assert sum(found.counts) == len(present)
        logs = log_transform(present.to_numpy())
        assert (found.edges[0], found.edges[-1]) == pytest.approx((logs.min(), logs.max()))


def test_the_profile_is_stored_and_computed_again_for_another_version(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = profile_columns(sample)
    monkeypatch.setattr(profile, "_profile_column", lambda *_: pytest.fail("computed twice"))
    assert profile_columns(sample) == first
    stored = sample.folder / "profile.json"
    stored.write_text(json.dumps({**json.loads(stored.read_text()), "version": 0}))
    monkeypatch.setattr(
        profile, "_profile_column", lambda name, column: ColumnProfile(name, 0.0, 0, ())
    )
    assert profile_columns(sample)[0].cardinality == 0


def test_progress_ends_at_one(sample: Sample) -> None:
    shares: list[float] = []
    profile_columns(sample, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("name", "values", "cardinality", "top"),
    [
        ("I1", [None, None], 0, ()),
        ("I1", [2.0, 2.0, -3.0], 2, (("2", 2), ("-3", 1))),
        ("I1", [1.5, None], 1, (("1.5", 1),)),
        ("C1", ["b", "a", None], 2, (("a", 1), ("b", 1))),
    ],
)
def test_odd_columns(name: str, values: list, cardinality: int, top: tuple) -> None:
    kind = pa.float64() if name in NUMERIC else pa.string()
    found = profile._profile_column(name, pa.chunked_array([pa.array(values, kind)]))
    assert (found.cardinality, found.top_values) == (cardinality, top)
    assert sum(found.counts) == (
        sum(value is not None for value in values) if name in NUMERIC else 0
    )


def test_drift_agrees_with_pandas(tiny: tuple[Workspace, Dataset], rows: pd.DataFrame) -> None:
    workspace, dataset = tiny
    parts = load_parts(dataset)
    source = rows[parts == SPLIT_PARTS.index("source_train")]
    target = rows[parts == SPLIT_PARTS.index("target_train")]
    for found in measure_drift(workspace, dataset):
        if found.field not in CATEGORICAL:
            continue
        counts = source[found.field].value_counts()
        frequent = counts[counts >= dataset.min_count]
        known = sorted(frequent.index, key=lambda value: (-frequent[value], value))
        names = {value: value for value in known[:20]} | dict.fromkeys(known[20:], "other")
        groups = [
            domain[found.field]
            .map(names)
            .fillna("unseen")
            .mask(domain[found.field].isna(), "missing")
            .value_counts()
            for domain in (source, target)
        ]
        both = pd.DataFrame(dict(zip("pq", groups, strict=True))).fillna(0) + 0.5
        both /= both.sum()
        assert found.psi == pytest.approx(((both.p - both.q) * np.log(both.p / both.q)).sum())
        present = target[found.field].dropna()
        assert found.unseen_target == pytest.approx(
            (~present.isin(frequent.index)).sum() / len(target)
        )
        assert found.missing_source == pytest.approx(source[found.field].isna().mean())
        assert found.missing_target == pytest.approx(target[found.field].isna().mean())


def test_the_simulated_target_drifts_as_documented(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    """The recipe "ordinary", that of tiny, changes a little of everything; "transfer" much of C9
    and of the fields with new values."""
    assert all(found.level != "strong" for found in measure_drift(*tiny))
    simulate(tmp_path / "transfer.tsv", 3000, "both", seed=3, recipe="transfer")
    sample = ingest(tiny[0], tmp_path / "transfer.tsv", "transfer", simulated=True)
    transfer = prepare(tiny[0], sample, SplitSpec(), "transfer", min_count=5)
    strong = {found.field for found in measure_drift(tiny[0], transfer) if found.level == "strong"}
    assert {"C9", "C10"} <= strong <= {"C3", "C4", "C9", "C10", "C15", "C24"}


def test_a_dataset_without_a_source_has_no_drift(
    tiny: tuple[Workspace, Dataset], sample: Sample
) -> None:
    alone = prepare(tiny[0], sample, SplitSpec(source_share=0.0), "target only")
    with pytest.raises(BadInput, match="no source domain"):
        measure_drift(tiny[0], alone)


@pytest.mark.parametrize(("before", "after"), [(900, 3000), (5000, 400)])
def test_the_index_by_chance_is_that_of_rows_from_one_source(before: int, after: int) -> None:
    generator = np.random.default_rng(4)
    shares = np.full(23, 1 / 23)
    drawn = [
        drift.population_stability_index(
            generator.multinomial(before, shares), generator.multinomial(after, shares)
        )
        for _ in range(400)
    ]
    assert np.mean(drawn) == pytest.approx(drift.expected_psi(before, after), rel=0.06)
