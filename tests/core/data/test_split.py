"""Splits compared with a loop in plain Python."""

import numpy as np
import pytest

from core.data.split import (
    SPLIT_PARTS,
    PartSummary,
    SplitSpec,
    assign_parts,
    assign_unlabelled_parts,
    check_parts,
    summarise_parts,
    unlabelled_spec,
)
from core.errors import BadInput


def by_hand(
    members: list[int], domain: str, test_share: float, validation_share: float
) -> dict[int, str]:
    test = round(len(members) * test_share)
    rest = members[: len(members) - test]
    validation = round(len(rest) * validation_share)
    train = rest[: len(rest) - validation]
    names = (
        dict.fromkeys(members, "test")
        | dict.fromkeys(rest, "validation")
        | dict.fromkeys(train, "train")
    )
    return {row: f"{domain}_{name}" for row, name in names.items()}


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 1003])
@pytest.mark.parametrize("method", ["order", "column", "random"])
def test_parts_equal_the_loop(rows: int, method: str) -> None:
    in_target = np.random.default_rng(1).random(rows) < 0.3
    spec = SplitSpec(method=method, column="C9", target_values=("a",), source_share=0.55, seed=5)
    parts, order = assign_parts(rows, spec, in_target)
    assert sorted(order.tolist()) == list(range(rows))
    rows_in_order = order.tolist()
    if method != "random":
        assert rows_in_order == list(range(rows))
    if method == "column":
        source = [row for row in rows_in_order if not in_target[row]]
        target = [row for row in rows_in_order if in_target[row]]
    else:
        source, target = rows_in_order[: round(0.55 * rows)], rows_in_order[round(0.55 * rows) :]
    wanted = by_hand(source, "source", 0.1, 0.05) | by_hand(target, "target", 0.5, 0.1)
    assert [SPLIT_PARTS[code] for code in parts] == [wanted[row] for row in range(rows)]


def test_random_is_fixed_by_its_seed() -> None:
    first, again, other = (
        assign_parts(500, SplitSpec(method="random", seed=seed))[0] for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


def test_temporal_protocol_of_the_defaults() -> None:
    counts = [
        part.rows
        for part in summarise_parts(np.zeros(100_000), assign_parts(100_000, SplitSpec())[0])
    ]
    assert counts == [51_300, 2_700, 6_000, 18_000, 2_000, 20_000]


def test_summaries_count_clicks() -> None:
    labels = np.array([1, 0, 1, 1, 0, 0])
    parts = np.array([0, 0, 5, 5, 5, 3], dtype=np.int8)
    summary = {part.part: (part.rows, part.clicks) for part in summarise_parts(labels, parts)}
    assert (
        summary["source_train"] == (2, 1)
        and summary["target_test"] == (3, 2)
        and summary["target_train"] == (1, 0)
    )
    assert np.isnan(PartSummary("source_test", 0, 0).click_rate)


def test_parts_without_both_classes_are_refused() -> None:
    def parts(**counts: tuple[int, int]) -> tuple[PartSummary, ...]:
        return tuple(PartSummary(part, *counts.get(part, (10, 3))) for part in SPLIT_PARTS)

    check_parts(parts())
    check_parts(parts(source_train=(0, 0), source_validation=(0, 0), source_test=(0, 0)))
    with pytest.raises(BadInput, match="leaves the part 'target test' without rows"):
        check_parts(parts(target_test=(0, 0)))
    with pytest.raises(
        BadInput, match=r"'source test' holds only rows without a click \(10 rows\)"
    ):
        check_parts(parts(source_test=(10, 0)))
    with pytest.raises(BadInput, match=r"'target validation' holds only clicks"):
        check_parts(parts(target_validation=(10, 10)))


@pytest.mark.parametrize("rows", [1, 7, 100, 1003])
@pytest.mark.parametrize("method", ["order", "random"])
def test_rows_without_labels_are_source_rows_that_train_or_validate(rows: int, method: str) -> None:
    spec = SplitSpec(method=method, source_validation_share=0.2, seed=5)
    parts, order = assign_unlabelled_parts(rows, spec)
    in_order = order.tolist()
    assert sorted(in_order) == list(range(rows)) and (
        in_order == list(range(rows)) or method == "random"
    )
    for place, row in enumerate(in_order):
        validates = place >= rows - round(0.2 * rows)
        assert SPLIT_PARTS[parts[row]] == ("source_validation" if validates else "source_train")
    summary = summarise_parts(None, parts)
    assert sum(part.rows for part in summary) == rows and {part.clicks for part in summary} == {
        None
    }
    assert all(np.isnan(part.click_rate) for part in summary)


def test_of_few_rows_without_labels_one_validates() -> None:
    assert [
        part.rows for part in summarise_parts(None, assign_unlabelled_parts(3, SplitSpec())[0])[:2]
    ] == [
        2,
        1,
    ]
    assert [
        part.rows for part in summarise_parts(None, assign_unlabelled_parts(1, SplitSpec())[0])[:2]
    ] == [
        1,
        0,
    ]


def test_what_is_stored_of_a_split_is_what_always_was_unless_it_shuffles() -> None:
    assert [*SplitSpec().as_json()] == [
        "method", "source_share", "column", "target_values", "target_test_share",
        "target_validation_share", "source_test_share", "source_validation_share", "seed",
    ]  # fmt: skip
    assert SplitSpec(method="files", shuffle=True).as_json()["shuffle"] is True


def test_rows_without_labels_need_some_that_train_and_some_that_validate() -> None:
    def parts(train: int, validation: int) -> tuple[PartSummary, ...]:
        rows = {"source_train": train, "source_validation": validation}
        return tuple(PartSummary(part, rows.get(part, 0), None) for part in SPLIT_PARTS)

    check_parts(parts(10, 1))
    with pytest.raises(BadInput, match="leaves the part 'source validation' without rows"):
        check_parts(parts(10, 0))


def test_of_a_split_rows_without_labels_keep_order_seed_and_validation_share() -> None:
    given = SplitSpec(source_share=0.2, target_test_share=0.3, source_validation_share=0.4, seed=7)
    assert unlabelled_spec(given) == SplitSpec(source_validation_share=0.4)
    assert unlabelled_spec(SplitSpec(method="random", seed=7)) == SplitSpec(method="random", seed=7)
    with pytest.raises(BadInput, match="no column can tell a target domain"):
        unlabelled_spec(SplitSpec(method="column", column="C1", target_values=("a",)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "weekday"}, "Split method 'weekday' is unknown"),
        ({"source_share": 1.0}, "source share is 1.0"),
        ({"target_test_share": 0.0}, "target test share is 0.0"),
        ({"method": "column", "column": "", "target_values": ("a",)}, "the column is ''"),
        ({"method": "column", "column": "C1"}, r"the values are \[\]"),
    ],
)
def test_settings_are_checked_at_the_door(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        SplitSpec(**settings)  # type: ignore[arg-type]
