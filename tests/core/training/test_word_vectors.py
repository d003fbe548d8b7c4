"""Word2Vec of rows: words, indices, meaning, and a backbone made and fine-tuned from the
vectors."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from core.data.datasets import Dataset, select_training_rows
from core.data.preprocessing import Preprocessing, fit_preprocessing, load_preprocessing
from core.data.schema import FIELDS, NUMERIC
from core.data.split import SPLIT_PARTS
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.models.backbone import build_network, load_backbone
from core.models.card import HeadSettings, load_card
from core.models.network import Embedding, Network
from core.models.registry import ARCHITECTURES
from core.training import word_vectors
from core.training.batches import RowTensors
from core.training.loop import CancelledError
from core.training.training_rows import load_rows
from core.training.word_vectors import embedding_words, initialise_from_rows, train_word2vec
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, run_request
from tests.optional import needs

SMALL = {"embedding": 4, "widths": [8]}
WORD2VEC = [name for name, about in ARCHITECTURES.items() if "word2vec" in about.initialisations]


@pytest.fixture
def quick_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of 200 rows: for tests that ask what becomes of vectors, not what they mean."""
    monkeypatch.setattr(word_vectors, "EPOCHS", 1)
    monkeypatch.setattr(
        word_vectors,
        "train_word2vec",
        lambda names, places, *rest: train_word2vec(names, places[:200], *rest),
    )


def table_of(columns: dict[str, list[object]]) -> pa.Table:
    """Rows with the given columns; all others missing."""
    rows = len(next(iter(columns.values())))
    return pa.table(
        {
            name: pa.array(
                columns.get(name, [None] * rows), pa.float64() if name in NUMERIC else pa.string()
            )
            for name in FIELDS
        }
    )


def by_hand() -> tuple[pa.Table, Preprocessing]:
    """Four rows; the rare value of C1 and of C2 share an id."""
    table = table_of(
        {
            "I2": [-3.0, -3.0, 9.0, None],
            "C1": ["a", "a", "b", None],
            "C2": ["?", "?", "x", "?"],
            "C26": ["z"] * 4,
        }
    )
    return table, fit_preprocessing(table, min_count=2)


def rows_of(workspace: Workspace, dataset: Dataset) -> tuple[Preprocessing, RowTensors]:
    """The dataset's preprocessing and its source training rows."""
    folder = dataset.folder / "preprocessing"
    rows = select_training_rows(dataset, "source", None)[0]
    return load_preprocessing(folder), load_rows(workspace, dataset, folder, SPLIT_PARTS).take(
        rows, torch.device("cpu")
    )


def stage_of(network: Network) -> Embedding:
    stage = network.stage_list()[0]
    assert isinstance(stage, Embedding)
    return stage


def test_words_are_field_and_value_in_the_order_of_the_table() -> None:
    _, preprocessing = by_hand()
    expected = {
        "I2": ["I2=", "I2=?", "I2=-3"],
        "C1": ["C1=", "C1=?", "C1=a"],
        "C26": ["C26=", "C26=?", "C26=z"],
    }
    # A value that is itself a question mark keeps its word.
    expected["C2"] = ["C2=", "C2=??", "C2=?"]
    assert embedding_words(preprocessing) == [
        word for name in FIELDS for word in expected.get(name, [f"{name}=", f"{name}=?"])
    ]
    assert len(embedding_words(preprocessing)) == sum(preprocessing.field_sizes)


def test_numeric_words_are_buckets() -> None:
    """9 lies in the bucket floor(ln(9)^2) + 2 = 6."""
    assert "I2=6" in embedding_words(fit_preprocessing(table_of({"I2": [9.0, 9.0]}), min_count=1))


def test_rows_become_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gensim is given, against the four rows written out by hand."""
    gensim = pytest.importorskip("gensim")
    pytest.importorskip("gensim.models")

    seen: list[list[str]] = []
    train = gensim.models.Word2Vec.train

    def spy(self: Any, sentences: list[list[str]], **rest: object) -> object:
        seen.extend(sentences)
        return train(self, sentences, **rest)

    monkeypatch.setattr(gensim.models.Word2Vec, "train", spy)
    monkeypatch.setattr(word_vectors, "EPOCHS", 1)
    table, preprocessing = by_hand()
    offsets = np.concatenate([[0], np.cumsum(preprocessing.field_sizes)[:-1]])
    train_word2vec(
        embedding_words(preprocessing),
        preprocessing.encode(table).ids + offsets,
        4,
        0,
        ListReporter(),
        True,
    )
    told = [{1: "-3", 13: "a", 14: "?", 38: "z"}, {1: "-3", 13: "a", 14: "?", 38: "z"}]
    told += [{1: "?", 13: "?", 14: "??", 38: "z"}, {14: "?", 38: "z"}]
    assert seen == [
        [f"{name}={row.get(place, '')}" for place, name in enumerate(FIELDS)] for row in told
    ]


@needs("gensim")
@pytest.mark.parametrize("architecture", WORD2VEC)
def test_vectors_land_in_their_rows_whatever_the_labels(
    architecture: str, tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every field and value of every click model, against gensim's own vector of that word."""
    trained = []

    def keep(vocabulary: list[str], places: np.ndarray, *rest: object) -> object:
        # Four fields and few rows: what is asked here is where vectors go.
        trained.append(train_word2vec(vocabulary, places[:200, 11:15], *rest))  # type: ignore[arg-type]
        return trained[-1]

    monkeypatch.setattr(word_vectors, "train_word2vec", keep)
    preprocessing, rows = rows_of(*tiny)
    unlabelled = dataclasses.replace(rows, labels=torch.full_like(rows.labels, torch.nan))
    request = PretrainRequest("d", architecture, "b", QUICK, objective="none", start="word2vec")
    tables = []
    for given in (rows, unlabelled):
        torch.manual_seed(1)
        network = build_network(architecture, {}, preprocessing.field_sizes, HeadSettings())
        before = stage_of(network).table.weight.detach().clone()
        counted = initialise_from_rows(network, request, preprocessing, given, ListReporter())
        tables.append(stage_of(network).table.weight.detach())
    assert torch.equal(*tables)
    place, vectors = 0, trained[0]
    mean = np.mean([vectors[word] for word in vectors.index_to_key], axis=0)
    scale = 0.05 / np.sqrt(np.mean([(vectors[word] - mean) ** 2 for word in vectors.index_to_key]))
    for name in FIELDS:
        known = preprocessing.vocabularies[name].to_pylist()
        for value in ["", "?", *(f"{one:.0f}" if name in NUMERIC else one for one in known)]:
            word = f"{name}={value}"
            there = word in vectors.key_to_index
            expected = (vectors[word] - mean) * scale if there else before[place].numpy()
            np.testing.assert_allclose(
                tables[0][place].numpy(), expected, rtol=1e-5, atol=1e-7, err_msg=word
            )
            assert there or np.array_equal(tables[0][place].numpy(), expected)
            place += 1
    assert counted == {"Values with a vector": len(vectors), "Values": place}
    assert 0 < len(vectors) < place


def planted(rows: int, seed: int) -> tuple[Preprocessing, np.ndarray]:
    """C1 to C6 always say the same of twelve values, C7 and C8 draw alone; places of each row's
    words."""
    generator = np.random.default_rng(seed)
    told = generator.integers(0, 12, rows)
    columns: dict[str, list[object]] = {
        f"C{number}": [f"v{v}" for v in told] for number in range(1, 7)
    }
    for name in ("C7", "C8"):
        columns[name] = [f"n{v}" for v in generator.integers(0, 6, rows)]
    table = table_of(columns)
    preprocessing = fit_preprocessing(table, min_count=1)
    offsets = np.concatenate([[0], np.cumsum(preprocessing.field_sizes)[:-1]])
    used = [FIELDS.index(name) for name in columns]
    return preprocessing, (preprocessing.encode(table).ids + offsets)[:, used]


@needs("gensim")
def test_values_that_occur_together_are_near_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # So few rows need larger steps.
    monkeypatch.setattr(word_vectors, "EPOCHS", 10)
    monkeypatch.setattr(word_vectors, "START_ALPHA", 0.1)
    preprocessing, places = planted(1000, 1)
    vectors = train_word2vec(embedding_words(preprocessing), places, 8, 0, ListReporter(), True)
    for value in range(12):
        company = {word for word, _ in vectors.most_similar(f"C1=v{value}", topn=5)}
        assert company == {f"C{number}=v{value}" for number in range(2, 7)}


@needs("gensim")
def test_same_seed_same_bits_and_another_seed_differs() -> None:
    preprocessing, places = planted(300, 2)
    first, again, other = (
        train_word2vec(embedding_words(preprocessing), places, 8, seed, ListReporter(), True)
        for seed in (0, 0, 1)
    )
    assert first.index_to_key == again.index_to_key
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert not np.array_equal(first.vectors, other.vectors)


@needs("gensim")
def test_curve_falls_from_that_of_a_coin_and_belongs_to_word2vec_alone() -> None:
    """Vectors of zeros give every pair ln 2 for itself and for each of its negatives."""
    preprocessing, places = planted(3000, 3)
    reporter = ListReporter()
    train_word2vec(embedding_words(preprocessing), places, 8, 0, reporter, True)
    losses = [value for _, name, value in reporter.rows if name == "train_loss"]
    assert losses[0] == pytest.approx((1 + word_vectors.NEGATIVES) * np.log(2), rel=0.02)
    assert losses[-1] < 0.95 * losses[0]
    silent = ListReporter()
    train_word2vec(embedding_words(preprocessing), places, 8, 0, silent, False)
    assert silent.rows == []


@needs("gensim")
def test_cancelled_between_two_chunks() -> None:
    preprocessing, places = planted(300, 4)
    reporter = ListReporter(stop_at=3)
    with pytest.raises(CancelledError):
        train_word2vec(embedding_words(preprocessing), places, 8, 0, reporter, True)
    assert [step for step, _, _ in reporter.rows] == [1, 2, 3]


@needs("gensim")
@pytest.mark.usefixtures("quick_learning")
def test_backbone_from_word2vec_and_its_frozen_embedding(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    reporter = ListReporter()
    request = PretrainRequest(
        dataset.id, "dnn", "vectors", QUICK, SMALL, objective="none", start="word2vec"
    )
    run = run_request(workspace, request, reporter)
    assert "learning word vectors" in reporter.phases
    assert {name for _, name, _ in reporter.rows} == {"train_loss"}
    assert run.result is not None
    card = load_card(workspace.backbones / run.result.backbone)
    assert [stage.origin for stage in card.stages] == ["word2vec", "random"]
    network = load_backbone(card)
    filled, values = card.metrics["Values with a vector"], card.metrics["Values"]
    assert 0 < filled <= values == len(stage_of(network).table.weight)
    assert stage_of(network).table.weight.std() > 0.02

    for depth, stays in ((1, True), (0, False)):
        tuned = run_request(
            workspace, FinetuneRequest(dataset.id, card.id, freeze_depth=depth, train=QUICK)
        )
        assert tuned.result is not None and tuned.result.stages[0].origin == "word2vec"
        model = load_backbone(load_card(workspace.runs / tuned.id / "model"))
        same = torch.equal(stage_of(model).table.weight, stage_of(network).table.weight)
        assert same == stays


@needs("gensim")
@pytest.mark.usefixtures("quick_learning")
def test_word2vec_is_a_start_of_clicks_too(tiny: tuple[Workspace, Dataset]) -> None:
    """The loss curve is that of clicks, and the stages were trained on click labels."""
    workspace, dataset = tiny
    reporter = ListReporter()
    run = run_request(
        workspace, PretrainRequest(dataset.id, "dnn", "b", QUICK, SMALL, start="word2vec"), reporter
    )
    assert run.result is not None
    assert [s.origin for s in load_card(workspace.backbones / run.result.backbone).stages] == [
        "supervised"
    ] * 2
    losses = [value for _, name, value in reporter.rows if name == "train_loss"]
    assert len(losses) == run.result.epochs_run * -(-run.result.train_rows // QUICK.batch_size)
    # A pair of words starts at 6 ln 2.
    assert max(losses) < 3
