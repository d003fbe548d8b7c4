"""VGG19 and ResNet50: pretraining, freezing, cache, checkpoints and fine-tuning on a few rows."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.dataset_rows import load_encoded
from core.data.datasets import Dataset, find_dataset, load_labels, select_training_rows
from core.data.prepare import prepare
from core.data.preprocessing import load_preprocessing
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.freezing.plan import make_plan
from core.jobs.requests import FinetuneRequest, PretrainRequest, TrainSettings
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings, load_card
from core.models.network import Network, Stage
from core.models.registry import ARCHITECTURES
from core.training import loop
from core.training.batches import RowTensors
from core.training.default_settings import PRESETS
from core.training.loop import CancelledError, fit
from core.training.losses import predict
from core.training.param_groups import parameter_groups, set_trainable
from core.training.training_rows import apply_frozen_prefix, load_rows
from core.workspace import Workspace, open_workspace
from tests.core.training.helpers import ListReporter, run_request
from tests.optional import skip_without

CPU = torch.device("cpu")
SOFTMAX = HeadSettings(output="softmax")
STEPS = TrainSettings(epochs=1, batch_size=4, early_stopping=0, plateau=0, device="cpu")
Backbone = tuple[Workspace, Dataset, BackboneCard]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Dataset]:
    """A workspace with a dataset of 300 simulated rows, named few."""
    skip_without("keras")
    folder = tmp_path_factory.mktemp("few")
    workspace = open_workspace(folder / "workspace")
    path = folder / "rows.tsv"
    simulate(path, 300, "both", seed=3)
    prepare(
        workspace, ingest(workspace, path, "few", simulated=True), SplitSpec(), "few", min_count=2
    )
    return workspace, find_dataset(workspace, "few")


def untrained(few: tuple[Workspace, Dataset], architecture: str) -> Backbone:
    """A backbone made by no training."""
    workspace, dataset = few
    run = run_request(
        workspace, PretrainRequest("few", architecture, f"my {architecture}", objective="none")
    )
    assert run.result is not None
    return workspace, dataset, load_card(workspace.backbones / run.result.backbone)


@pytest.fixture(scope="module")
def resnet(few: tuple[Workspace, Dataset]) -> Backbone:
    """A ResNet50."""
    return untrained(few, "resnet50")


def some_rows(backbone: Backbone, network: Network, depth: int, cached: bool) -> RowTensors:
    """Eight target rows, both labels among them, after the frozen prefix if `cached`."""
    workspace, dataset, card = backbone
    table = load_rows(
        workspace, dataset, card.folder / "preprocessing", ("target_train", "target_validation")
    )
    rows = select_training_rows(dataset, "target", None)[0]
    labels = load_labels(dataset)[rows]
    chosen = np.sort(np.concatenate([rows[labels == 1][:4], rows[labels == 0][:4]]))
    if cached:
        table = apply_frozen_prefix(workspace, network, depth, table, "key")
        assert table.first_stage == depth
    return table.take(chosen, CPU)


def network_of(card: BackboneCard) -> Network:
    network = load_backbone(card)
    torch.manual_seed(0)
    network.replace_head(SOFTMAX)
    return network


def test_backbone_says_random_and_its_picture_knows_source_training_rows_alone(
    resnet: Backbone,
) -> None:
    workspace, dataset, card = resnet
    assert {stage.origin for stage in card.stages} == {"random"} and not card.scores_clicks
    assert [stage.title for stage in card.stages][:2] == ["Image + conv 1", "Conv 2"]
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    rows = select_training_rows(dataset, "source", None)[0]
    ids = np.asarray(load_encoded(workspace, dataset, preprocessing).ids[rows])
    counts = [
        np.bincount(ids[:, field], minlength=size)
        for field, size in enumerate(preprocessing.field_sizes)
    ]
    expected = np.log1p(np.concatenate(counts)) / np.log1p(len(rows))
    common = load_backbone(card).get_buffer("stages.0.image.common")
    np.testing.assert_allclose(common.numpy(), expected, rtol=1e-6)


def test_frozen_stages_stay_bit_identical_and_trained_statistics_move(
    resnet: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    depth = 3
    card = resnet[2]
    network, plan = network_of(card), make_plan(card, "depth", depth, SOFTMAX)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rows = some_rows(resnet, network, depth, cached=False)
    fit(network, plan, rows, rows, STEPS, ListReporter(), tmp_path / "c.pt")
    frozen = tuple(f"stages.{index}." for index in range(depth))
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (not name.startswith(frozen)) and (
            parameter.grad is None
        ) == (not parameter.requires_grad)
    assert (
        sum(p.numel() for p in network.parameters() if p.requires_grad) == plan.trained_parameters
    )
    # What training left behind, not the best epoch's weights: those may be the ones it began with.
    left = torch.load(tmp_path / "c.pt", weights_only=True)["network"]
    moved = {name for name, tensor in left.items() if not torch.equal(tensor, before[name])}
    assert not any(name.startswith(frozen) for name in moved)
    everything = {name for name in before if not name.startswith((*frozen, "stages.0.image"))}
    assert {
        name for name in everything if "moving" in name or name.endswith("kernel") or "head" in name
    } <= moved
    set_trainable(network, plan, parameter_groups(network, plan), epoch=0)
    for stage, planned in zip([*network.stages, network.head], plan.stages, strict=True):
        assert all(module.training is not planned.frozen for module in stage.modules())


def test_cached_prefix_equals_the_uncached_run(
    few: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    # Without BatchNorm: ResNet50's biases below one have gradients of rounding noise, which Adam
    # blows up.
    vgg = untrained(few, "vgg19")
    scores = []
    for cached in (False, True):
        network, plan = network_of(vgg[2]), make_plan(vgg[2], "depth", 4, SOFTMAX)
        rows = some_rows(vgg, network, 4, cached)
        fit(network, plan, rows, rows, STEPS, ListReporter(), tmp_path / f"{cached}.pt")
        scores.append(predict(network, rows))
    np.testing.assert_allclose(scores[1], scores[0], atol=2e-6)
    assert scores[0].std() > 0


def test_stopped_and_resumed_equals_uninterrupted(resnet: Backbone, tmp_path: Path) -> None:
    card = resnet[2]
    plan = make_plan(card, "depth", 4, SOFTMAX)
    settings = dataclasses.replace(STEPS, epochs=2, batch_size=8)
    ends = []
    for stop_at in (None, 1):
        path, reporter = tmp_path / f"{stop_at}.pt", ListReporter(stop_at)
        network = network_of(card)
        rows = some_rows(resnet, network, 4, cached=True)
        if stop_at:
            with pytest.raises(CancelledError):
                fit(network, plan, rows, rows, settings, reporter, path)
            reporter.stop_at = None
            network = network_of(card)
        fit(network, plan, rows, rows, settings, reporter, path)
        ends.append(torch.load(path, weights_only=True)["network"])
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_the_articles_preset_runs_as_written(resnet: Backbone) -> None:
    workspace, _, card = resnet
    article = PRESETS["article"]
    assert (article.batch_size, article.epochs, article.learning_rate) == (32, 10, 1e-3)
    request = FinetuneRequest("few", card.id, freeze_depth=5, head=SOFTMAX, train=article)
    run = run_request(workspace, request)
    assert run.result is not None
    assert run.result.epochs_run == 10 and run.result.trained_parameters == 2 * (2048 + 1)
    assert (
        run.result.before is None
        and [stage.origin for stage in run.result.stages][:5] == ["random"] * 5
    )
    assert np.isfinite(run.result.metrics["target_test"]["log_loss"])


def test_from_scratch_the_first_stage_is_fitted_on_target_training_rows(
    few: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = few
    fitted: list[tuple[str, np.ndarray]] = []
    monkeypatch.setattr(
        Stage,
        "fit_preprocessing",
        lambda stage, state, labels: fitted.append((stage.name, labels.numpy())),
    )
    made = run_request(workspace, PretrainRequest("few", "lr", "my lr", STEPS))
    assert made.result is not None
    for strategy in ("scratch", "full"):
        run_request(
            workspace,
            FinetuneRequest("few", made.result.backbone, strategy=strategy, train=STEPS),
        )
    assert [name for name, _ in fitted] == ["embedding", "embedding"]
    for (_, labels), domain in zip(fitted, ("source", "target"), strict=True):
        np.testing.assert_array_equal(
            labels, load_labels(dataset)[select_training_rows(dataset, domain, None)[0]]
        )


def test_image_networks_offer_what_they_can_do() -> None:
    for architecture in ("vgg19", "resnet50"):
        about = ARCHITECTURES[architecture]
        assert about.required_package == "keras" and about.initialisations == (
            "imagenet",
            "weights",
            "random",
        )
        assert about.objectives == ("none", "supervised")
