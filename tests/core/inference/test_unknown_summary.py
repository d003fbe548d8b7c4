"""What is reported of a file whose values the model does not know, and of columns missing in every
row."""

import hashlib
from typing import Any

import numpy as np

from core.data.preprocessing import Preprocessing
from core.data.schema import CATEGORICAL
from core.inference.unknown_summary import unknown_summary
from core.inference.unknown_values import known_shares, unknown_columns
from tests.core.inference.changed_spellings import (
    Columns,
    count_ids,
    respell,
    to_table,
    unknown_columns_of,
)


def test_a_model_that_knows_no_value_of_its_training_rows_is_reported(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    # A backbone pretrained on simulated rows, fine-tuned on rows of other hashes.
    own = respell(fresh, lambda value: hashlib.md5(value.encode()).hexdigest()[:8])
    learnt = count_ids(trained[0], own)
    training = known_shares(trained[0], learnt)
    for spell in (str, str.upper, lambda value: str(int(value, 16)), lambda value: f"x{value}"):
        scored = respell(own, spell)
        counts = count_ids(trained[0], scored)
        columns = unknown_columns(trained[0], to_table(scored), counts, training)
        said = unknown_summary(trained[0], columns, counts, learnt)
        (sentence,) = said["sentences"]
        assert (
            said["knows_none"]
            and "its own training rows: the scores come from the numeric columns" in sentence
        )
        assert "Pretrain a backbone on rows of your own" in sentence
    for learnt_there, scored in (
        (count_ids(trained[0], fresh), own),
        (learnt, fresh),
        (count_ids(trained[0], fresh), fresh),
    ):
        said = unknown_summary(trained[0], (), count_ids(trained[0], scored), learnt_there)
        assert not said["knows_none"] and said["sentences"] == []


def test_columns_missing_in_every_row_are_one_sentence(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    learnt = count_ids(trained[0], fresh)
    none: list[str | None] = [None] * 500

    def said_of(columns: Columns, before: np.ndarray | None = learnt) -> dict[str, Any]:
        return unknown_summary(
            trained[0], unknown_columns_of(trained, columns), count_ids(trained[0], columns), before
        )

    said = said_of(fresh | dict.fromkeys(CATEGORICAL, none))
    assert said["missing_columns"] == list(CATEGORICAL) and not said["knows_none"]
    (sentence,) = said["sentences"]
    assert sentence.startswith(
        "C1 to C26 are missing in every row, though they were not in training"
    )
    # Without the training rows, the vocabulary tells of most columns that they had values.
    said = said_of(fresh | dict.fromkeys(CATEGORICAL, none), None)
    assert 20 <= len(said["missing_columns"]) <= 26 and len(said["sentences"]) == 1
    said = said_of(fresh | dict.fromkeys(("I13", "C1", "C2", "C4"), none))
    assert said["sentences"][0].startswith("I13 and C1, C2 and C4 are missing in every row")
    assert said_of(fresh | {"C9": none})["sentences"][0].startswith(
        "C9 is missing in every row, though it was"
    )
    assert said_of(fresh)["missing_columns"] == []
    # Where training has no value either, and where a few rows have none by chance, there is nothing
    # to say.
    empty = fresh | {"C22": none}
    assert said_of(empty, count_ids(trained[0], empty))["missing_columns"] == []
    often = fresh | {"C22": [*none[:400], *fresh["C22"][400:]]}
    few = {field: values[:10] for field, values in often.items()}
    assert said_of(few, count_ids(trained[0], often))["missing_columns"] == []
