"""Replaced and masked features: the corruption, the losses compared with NumPy, and
interruptions."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from core.data.datasets import Dataset
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput
from core.freezing.plan import make_plan
from core.inference.evaluate_run import evaluate_on
from core.jobs.requests import FinetuneRequest, PretrainRequest, TrainSettings
from core.models.backbone import build_network, load_backbone
from core.models.card import HeadSettings, load_card
from core.models.network import Network
from core.models.objectives import PROJECTION_SIZE
from core.models.registry import ARCHITECTURES
from core.training import loop, masked_features
from core.training.batches import RowTensors
from core.training.corruption import step_generator
from core.training.loop import CancelledError, FitResult
from core.training.masked_features import MaskedFeatures, Predictor, nce_loss, unigram_sampler
from core.training.pretext import copy_weights, train_pretext, value_rows
from core.training.replaced_features import Detector, ReplacedFeatures, replace_fields
from core.workspace import Workspace
from tests.core.models.references import SMALL
from tests.core.training.helpers import QUICK, ListReporter, run_request

CPU = torch.device("cpu")
SIZES = tuple(4 + number % 5 for number in range(len(FIELDS)))
LEARNERS = [name for name, about in ARCHITECTURES.items() if "rfd" in about.objectives]


def rows_of(count: int, seed: int = 0) -> RowTensors:
    """Rows of independent fields, skewed; every numeric field's number is a function of its id."""
    generator = np.random.default_rng(seed)
    ids = np.stack(
        [np.minimum(generator.geometric(0.5, count) - 1, size - 1) for size in SIZES], axis=1
    )
    numerics = np.sin(ids[:, : len(NUMERIC)] + np.arange(len(NUMERIC))).astype(np.float32)
    return RowTensors(
        (torch.from_numpy(ids.astype(np.int32)), torch.from_numpy(numerics)), torch.zeros(count)
    )


def settings_of(architecture: str, **changes: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in (SMALL | changes).items()
        if name in ARCHITECTURES[architecture].defaults
    }


def request_of(
    objective: str, architecture: str = "dnn", train: TrainSettings = QUICK, **changes: Any
) -> PretrainRequest:
    return PretrainRequest(
        "d", architecture, "b", train, settings_of(architecture, **changes), objective
    )


def fresh(request: PretrainRequest) -> Network:
    torch.manual_seed(request.train.seed)
    return build_network(request.architecture, request.settings, SIZES, HeadSettings())


def learn(
    request: PretrainRequest, rows: RowTensors, path: Path, reporter: ListReporter | None = None
) -> tuple[Network, FitResult, dict[str, float]]:
    network = fresh(request)
    validation = RowTensors(tuple(tensor[-100:] for tensor in rows.state), rows.labels[-100:])
    _, fitted, reached = train_pretext(
        network, request, SIZES, rows, validation, reporter or ListReporter(), path / "c.pt"
    )
    return network, fitted, reached


def test_replaced_fields_are_as_many_as_asked_and_drawn_from_their_own_column() -> None:
    rows = rows_of(20_000)
    ids, numerics = rows.state
    share, batch = 0.3, torch.arange(len(rows))
    (new_ids, new_numerics), replaced = replace_fields(
        rows, batch, share, step_generator(0, 5, CPU)
    )
    assert not torch.equal(new_ids, ids)
    # Numbers move with their ids: still the same function of them.
    expected = np.sin(new_ids[:, : len(NUMERIC)].numpy() + np.arange(len(NUMERIC))).astype(
        np.float32
    )
    np.testing.assert_array_equal(new_numerics.numpy(), expected)
    np.testing.assert_array_equal(replaced.numpy(), (new_ids != ids).numpy())
    for column, size in enumerate(SIZES):
        own = np.bincount(ids[:, column], minlength=size) / len(rows)
        changes = share * (1 - (own**2).sum())
        deviation = (changes * (1 - changes) / len(rows)) ** 0.5
        assert abs(replaced[:, column].float().mean() - changes) < 5 * deviation
        # A drawn value that differs from a row's own v has the column's distribution without v.
        drawn = np.bincount(new_ids[replaced[:, column], column], minlength=size)
        wanted = len(rows) * share * own * (1 - own)
        # From both sides: counts too close to the expected ones would not be drawn at random.
        statistic = ((drawn - wanted) ** 2 / wanted).sum()
        assert chi2.ppf(1e-4, size) < statistic < chi2.ppf(1 - 1e-4, size)
    kept = ~replaced
    assert torch.equal(new_ids[kept], ids[kept])
    assert torch.equal(new_numerics[kept[:, : len(NUMERIC)]], numerics[kept[:, : len(NUMERIC)]])


def test_a_number_that_changes_within_its_bucket_counts_as_replaced() -> None:
    rows = rows_of(500)
    numbers = torch.arange(500.0)[:, None].expand(500, len(NUMERIC)).contiguous()
    same_ids = RowTensors((torch.ones_like(rows.state[0]), numbers), rows.labels)
    (_, new), replaced = replace_fields(same_ids, torch.arange(500), 0.5, step_generator(0, 0, CPU))
    np.testing.assert_array_equal(replaced[:, : len(NUMERIC)].numpy(), (new != numbers).numpy())
    assert 0.4 < replaced[:, : len(NUMERIC)].float().mean() < 0.6
    assert not replaced[:, len(NUMERIC) :].any()


def test_random_draws_depend_on_seed_and_step_alone() -> None:
    def draw(seed: int, step: int) -> list[float]:
        return torch.rand(4, generator=step_generator(seed, step, CPU)).tolist()

    first = draw(0, 3)
    torch.rand(10)
    assert draw(0, 3) == first
    assert len({tuple(draw(seed, step)) for seed in range(5) for step in range(-1, 20)}) == 5 * 21


def test_detector_loss_is_the_mean_binary_cross_entropy() -> None:
    request, rows, batch = request_of("rfd"), rows_of(300), torch.arange(40, 90)
    network, task = fresh(request), ReplacedFeatures(request)
    network.head = Detector(6, len(FIELDS))
    network.eval()
    state, replaced = replace_fields(
        rows, batch, request.mask_share, step_generator(request.train.seed, 7, CPU)
    )
    with torch.no_grad():
        p = 1 / (1 + np.exp(-network(state).numpy().astype(np.float64)))
        actual = task.loss(network, rows, batch, 7).item()
    y = replaced.numpy()
    assert actual == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), rel=1e-5)
    assert task.validate(network, rows) == task.validate(network, rows)


def test_noise_is_the_smoothed_unigram_of_its_own_field(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(2000)
    noise = unigram_sampler(rows.state[0], SIZES)
    monkeypatch.setattr(masked_features, "NEGATIVES", 20_000)
    places = noise.sample(step_generator(0, 0, CPU)).numpy()
    start = 0
    for column, size in enumerate(SIZES):
        counts = np.bincount(rows.state[0][:, column], minlength=size) + 1
        own = counts / counts.sum()
        np.testing.assert_allclose(
            noise.log_probabilities[start : start + size].exp(), own, rtol=1e-5
        )
        drawn = np.bincount(places[column] - start, minlength=size)
        assert drawn.sum() == 20_000 and len(drawn) == size
        statistic = ((drawn - 20_000 * own) ** 2 / (20_000 * own)).sum()
        assert chi2.ppf(1e-4, size - 1) < statistic < chi2.ppf(1 - 1e-4, size - 1)
        start += size


def test_contrast_equals_numpy_and_leaves_equal_negatives_out() -> None:
    noise = unigram_sampler(rows_of(50).state[0], SIZES)
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(6, 4)).astype(np.float32)
    places = generator.integers(0, sum(SIZES), (6, 4))
    places[2, 3] = places[2, 0]
    places[4, 1:] = places[4, 0]
    logits = scores - noise.log_probabilities.numpy()[places] - np.log(3)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = [
        -np.log(p[i, 0])
        - sum(np.log(1 - p[i, j]) for j in (1, 2, 3) if places[i, j] != places[i, 0])
        for i in range(6)
    ]
    actual = nce_loss(torch.from_numpy(scores), torch.from_numpy(places), noise)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-5)


def test_candidates_are_the_hidden_values_and_their_own_fields_negatives() -> None:
    request, rows, batch = request_of("mfp"), rows_of(300), torch.arange(10, 60)
    wide = build_network(
        "dnn", request.settings, [size + 1 for size in SIZES], HeadSettings()
    ).eval()
    noise = unigram_sampler(rows.state[0], SIZES)
    wide.head = head = Predictor(6, len(FIELDS), noise)
    seen = []
    wide.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task = MaskedFeatures(request, SIZES, noise)
    with torch.no_grad():
        scores, places = task.candidates(wide, rows, batch, step_generator(0, 3, CPU))
        queries = wide(seen[0])
    ids, numerics = (tensor[batch] for tensor in rows.state)
    hidden = seen[0][0] == torch.tensor(SIZES)
    assert abs(hidden.float().mean() - request.mask_share) < 0.05
    assert torch.equal(seen[0][0][~hidden], ids[~hidden])
    numbered = hidden[:, : len(NUMERIC)]
    assert not seen[0][1][numbered].any() and torch.equal(
        seen[0][1][~numbered], numerics[~numbered]
    )
    starts = np.cumsum([0, *SIZES[:-1]])
    for cell, (row, field) in enumerate(hidden.nonzero().tolist()):
        assert places[cell, 0] == starts[field] + ids[row, field]
        assert (
            (places[cell] >= starts[field]) & (places[cell] < starts[field] + SIZES[field])
        ).all()
        vectors, bias = head.vectors.weight[places[cell]], head.bias.weight[places[cell], 0]
        torch.testing.assert_close(
            scores[cell], vectors @ queries[row, field] + bias, rtol=1e-4, atol=1e-5
        )
    rivals = np.where(places[:, 1:] == places[:, :1], -np.inf, scores[:, 1:]).max(1)
    counted = rivals > -np.inf
    losses = nce_loss(scores, places, noise)
    assert counted.sum() > 0
    loss, accuracy = task.validate(
        wide, dataclasses.replace(rows, state=(ids, numerics), labels=rows.labels[batch])
    )
    assert 0 <= accuracy <= 1 and np.isfinite(loss) and torch.isfinite(losses).all()


def test_values_survive_the_wider_table_and_back() -> None:
    network = fresh(request_of("mfp", "deepfm"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wide = build_network(
        "deepfm", settings_of("deepfm"), [size + 1 for size in SIZES], HeadSettings()
    )
    kept = value_rows(SIZES, masked=True)
    copy_weights(network, wide, kept)
    old, new = network.stage_list()[0], wide.stage_list()[0]
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, SIZES, (20, len(SIZES))))
    for one, other in zip(
        old((ids, torch.zeros(20, 13))), new((ids, torch.zeros(20, 13))), strict=True
    ):
        assert torch.equal(one, other)
    with torch.no_grad():
        for parameter in network.stages.parameters():
            parameter.zero_()
    copy_weights(wide, network, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("objective", ["rfd", "mfp"])
@pytest.mark.parametrize("architecture", LEARNERS)
def test_every_click_model_learns_and_hands_back_itself(
    objective: str, architecture: str, tmp_path: Path
) -> None:
    request = request_of(
        objective, architecture, dataclasses.replace(QUICK, epochs=1, batch_size=100)
    )
    before = fresh(request)
    network, fitted, reached = learn(request, rows_of(200), tmp_path)
    assert fitted.epochs_run == 1 and np.isfinite([*reached.values()]).all()
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in before.state_dict().items()}
    # The head is the plain one it began with, and nothing of the objective stays on it.
    for name, tensor in before.head.state_dict().items():
        assert torch.equal(network.head.state_dict()[name], tensor)
    if fitted.best_epoch:
        for one, other in zip(network.stage_list(), before.stage_list(), strict=True):
            moved = [
                not torch.equal(x, y)
                for x, y in zip(one.parameters(), other.parameters(), strict=True)
            ]
            assert any(moved), one.name


@pytest.mark.parametrize("objective", ["rfd", "mfp"])
def test_stopped_and_resumed_equals_uninterrupted_and_labels_are_not_read(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(
        objective, train=dataclasses.replace(QUICK, epochs=2, batch_size=64, cosine=True)
    )
    rows, whole_reporter = rows_of(300), ListReporter()
    whole, fitted, reached = learn(request, rows, tmp_path, whole_reporter)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    unlabelled = dataclasses.replace(rows, labels=torch.full((300,), float("nan")))
    folder = tmp_path / "broken"
    folder.mkdir()
    reporter = ListReporter(stop_at=7)
    with pytest.raises(CancelledError):
        learn(request, unlabelled, folder, reporter)
    reporter.stop_at = None
    broken, *resumed = learn(request, unlabelled, folder, reporter)
    assert resumed == [fitted, reached]
    assert all(
        torch.equal(x, y)
        for x, y in zip(broken.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    score = {"rfd": "validation_auc", "mfp": "validation_accuracy"}[objective]
    for name in ("train_loss", "validation_loss", score):
        points = [[row for row in r.rows if row[1] == name] for r in (reporter, whole_reporter)]
        assert points[0] == points[1] and points[0], name


def test_a_planted_dependency_is_learned(tmp_path: Path) -> None:
    """Every field is a function of the first, and its four values are equally likely."""
    first = np.random.default_rng(1).integers(0, 4, (1000, 1))
    ids = (first + np.arange(len(SIZES))) % 4
    numerics = np.sin(ids[:, : len(NUMERIC)]).astype(np.float32)
    rows = RowTensors(
        (torch.from_numpy(ids.astype(np.int32)), torch.from_numpy(numerics)), torch.zeros(len(ids))
    )
    train = TrainSettings(
        epochs=12, batch_size=50, learning_rate=1e-2, early_stopping=0, plateau=0, cosine=True
    )
    # Whether two values belong together is a matter of products, which a cross layer has at once.
    changes = {"embedding": 4, "crosses": 1}
    for objective, title in (("rfd", "detector AUC"), ("mfp", "accuracy among candidates")):
        folder = tmp_path / objective
        folder.mkdir()
        reporter = ListReporter()
        _, _, reached = learn(
            request_of(objective, "fcn", train, **changes), rows, folder, reporter
        )
        scores = [
            value
            for _, name, value in reporter.rows
            if name in ("validation_auc", "validation_accuracy")
        ]
        assert scores[0] < 0.6 and reached[title] > 0.8, objective


@pytest.mark.parametrize(
    ("objective", "title"), [("rfd", "detector AUC"), ("mfp", "accuracy among candidates")]
)
def test_a_run_makes_a_backbone_that_fine_tunes(
    objective: str, title: str, tiny: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace, PretrainRequest(dataset.id, "dnn", "b", QUICK, settings_of("dnn"), objective)
    )
    assert run.result is not None
    card = load_card(workspace.backbones / run.result.backbone)
    assert card.objective == objective and {stage.origin for stage in card.stages} == {objective}
    assert set(card.metrics) == {title, "loss"} and run.result.learnt == card.metrics
    assert run.result.metrics == {} and run.result.threshold is None
    head = run.result.stages[-1]
    fields, extra = len(FIELDS), len(FIELDS) if objective == "mfp" else 0
    sizes = sum(
        parameter.shape[0]
        for name, parameter in load_backbone(card).named_parameters()
        if "table" in name
    )
    projected = fields * PROJECTION_SIZE
    if objective == "rfd":
        assert head.parameters == 7 * projected + (projected + 1) * fields
    else:
        assert head.parameters == 7 * projected + sizes * (PROJECTION_SIZE + 1)
    assert run.result.trained_parameters == card.parameters + extra * 4 + head.parameters
    assert {stage.origin for stage in run.result.stages[:-1]} == {objective}

    with pytest.raises(BadInput, match="no head trained on click labels"):
        make_plan(card, "zero-shot", 0, HeadSettings())
    with pytest.raises(BadInput, match="was never trained on click labels"):
        evaluate_on(workspace, run, dataset)
    tuned = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    assert tuned.result is not None and tuned.result.before is None
    assert tuned.result.metrics["target_test"]["auc"] > 0.5
    arrays = np.load(workspace.runs / tuned.id / "predictions.npz")
    assert {name.rsplit("_", 1)[1] for name in arrays} == {"label", "score"}
    model = load_card(workspace.runs / tuned.id / "model")
    assert model.scores_clicks
    again = evaluate_on(workspace, tuned, dataset)["target_test"]["auc"]
    assert again == pytest.approx(tuned.result.metrics["target_test"]["auc"])
    frozen = [load_backbone(one).state_dict()["stages.0.table.weight"] for one in (card, model)]
    assert torch.equal(*frozen)
