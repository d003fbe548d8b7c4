"""Fine-tuning with a vocabulary and statistics that target rows extended."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core.data.columns.dictionary_file import dictionary_decode
from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import (
    Dataset,
    find_dataset,
    load_labels,
    select_test_rows,
    select_training_rows,
)
from core.data.fitted_statistics import FOLD_SEED
from core.data.preprocessing import UNSEEN, Preprocessing, load_preprocessing
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.target_statistics import assign_folds
from core.errors import BadInput
from core.freezing.inputs import check_inputs
from core.inference.evaluate_run import evaluate_on
from core.inference.interpolate import interpolate
from core.inference.run_model import load_model_card
from core.inference.weight_drift import measure_weight_drift
from core.jobs.requests import FinetuneRequest, InterpolateRequest, PretrainRequest
from core.jobs.store import Run, RunStore
from core.models.backbone import build_network, load_backbone
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, load_card
from core.models.extend_embeddings import extend_embeddings
from core.models.registry import ARCHITECTURES
from core.runs.command_lines import command_line
from core.runs.dispatch import execute
from core.runs.submit import submit_finetune, submit_interpolation
from core.runs.verify import verify
from core.training.loop import CancelledError
from core.training.losses import predict
from core.training.refitted_inputs import StartingPoint, refit_inputs
from core.training.training_rows import encode_row_numbers, load_rows
from core.workspace import BUNDLED_BACKBONES, Workspace, open_workspace
from tests.core.models.exchange_files import stored_backbone
from tests.core.models.references import CLICK_MODELS, SMALL
from tests.core.training.helpers import (
    CPU,
    QUICK,
    ListReporter,
    check_scored_file,
    load_predictions,
    run_request,
)

Refitted = tuple[Workspace, Dataset, BackboneCard, np.ndarray]
"""With the numbers of the target's training rows."""


@pytest.fixture(scope="module")
def refitted(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Refitted:
    """A backbone with statistics of fields and pairs."""
    root = shutil.copytree(tiny_template, tmp_path_factory.mktemp("refitted") / "workspace")
    workspace = open_workspace(root)
    dataset = find_dataset(workspace, "tiny")
    settings = {name: SMALL[name] for name in ("embedding", "widths")}
    train = dataclasses.replace(QUICK, epochs=1)
    request = PretrainRequest(
        dataset.id, "dnn", "with statistics", train, settings, statistics="pairs"
    )
    run_request(workspace, request)
    card = find_backbone(workspace, "with statistics")
    return workspace, dataset, card, select_training_rows(dataset, "target", None)[0]


def start(of: Refitted, train: np.ndarray | None = None) -> tuple[StartingPoint, Preprocessing]:
    """What training on the target's training rows (and no others) starts from."""
    workspace, dataset, card, rows = of
    numbers = np.arange(dataset.rows)
    found = refit_inputs(workspace, dataset, card, rows if train is None else train, numbers)
    assert found.refitted is not None
    return found, found.refitted


def request_of(of: Refitted, depth: int) -> FinetuneRequest:
    _, dataset, card, _ = of
    return FinetuneRequest(
        dataset.id, card.id, "depth", depth, train=QUICK, keep_head=True, inputs="refitted"
    )


@pytest.fixture(scope="module")
def tuned(refitted: Refitted) -> dict[int, Run]:
    """A finished run at each of two freeze depths."""
    return {depth: run_request(refitted[0], request_of(refitted, depth)) for depth in (0, 1)}


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_a_network_with_more_values_computes_what_it_did(architecture: str) -> None:
    card = load_card(next(BUNDLED_BACKBONES.glob("*dnn*")))
    known = ARCHITECTURES[architecture].defaults
    settings = {name: value for name, value in SMALL.items() if name in known}
    card = dataclasses.replace(card, architecture=architecture, settings=settings, n_dense=65)
    generator = torch.Generator().manual_seed(0)
    before = [3 + field % 4 for field in range(len(FIELDS))]
    after = [size + field % 3 for field, size in enumerate(before)]
    network = build_network(architecture, settings, before, card.head, 65).eval()
    ids = torch.stack([torch.randint(size, (50,), generator=generator) for size in after], 1)
    numerics = torch.randn(50, 65, generator=generator)
    known_ids = torch.where(ids < torch.tensor(before), ids, UNSEEN)
    assert (known_ids != ids).any()
    with torch.no_grad():
        extended = extend_embeddings(card, network, before, after)
        assert torch.equal(extended((ids, numerics)), network((known_ids, numerics)))


def test_before_the_first_step_plain_inputs_give_the_backbones_outputs(refitted: Refitted) -> None:
    workspace, dataset, _, train = refitted
    card = stored_backbone(workspace, dataset, "deepfm")
    found, preprocessing = start((workspace, dataset, card, train))
    before = load_preprocessing(card.folder / "preprocessing")
    assert sum(preprocessing.field_sizes) > sum(before.field_sizes)
    for field in FIELDS:
        known = before.vocabularies[field]
        assert preprocessing.vocabularies[field].slice(0, len(known)).equals(known)
    kept = encode_row_numbers(workspace, dataset, before, np.arange(dataset.rows))
    assert not torch.equal(found.rows.state[0], kept.state[0])
    with torch.no_grad():
        assert torch.equal(found.network(found.rows.state), load_backbone(card)(kept.state))
    sizes = sum(one.numel() for one in found.network.stage_list()[0].parameters())
    assert found.card.stages[0].parameters == sizes > card.stages[0].parameters


def test_a_vocabulary_grows_by_the_frequent_values_of_the_target(refitted: Refitted) -> None:
    workspace, dataset, card, train = refitted
    _, preprocessing = start(refitted)
    before = load_preprocessing(card.folder / "preprocessing")
    table = dictionary_decode(read_dataset_rows(workspace, dataset)).to_pandas().iloc[train]
    for field in CATEGORICAL:
        counts = table[field].value_counts()
        # 2 is the minimum for fewer than 2,000 rows.
        frequent = {*counts[counts >= 2].index} - {*before.vocabularies[field].to_pylist()}
        new = preprocessing.vocabularies[field].to_pylist()[len(before.vocabularies[field]) :]
        assert {*new} == frequent and len(new) == len(frequent)


def slow_groups(of: Refitted, values: pd.Series, min_rows: int) -> pd.Series:
    """What rows count with: a value seen twice by source or target training rows, or the rest."""
    _, dataset, _, target = of
    known = set()
    for numbers in (select_training_rows(dataset, "source", None)[0], target):
        counts = values.iloc[numbers].value_counts()
        known |= {*counts[counts >= min_rows].index}
    return values.map(lambda value: value if value in known else "rest").where(
        values.notna(), "missing"
    )


def test_statistics_count_the_rows_of_both_domains(refitted: Refitted) -> None:
    workspace, dataset, card, train = refitted
    found, preprocessing = start(refitted)
    statistics = preprocessing.statistics
    before = load_preprocessing(card.folder / "preprocessing").statistics
    assert statistics is not None and before is not None
    assert np.array_equal(statistics.mean, before.mean)
    assert np.array_equal(statistics.std, before.std)
    table = dictionary_decode(read_dataset_rows(workspace, dataset)).to_pandas()
    labels = pd.Series(np.asarray(load_labels(dataset), np.float64))
    source = select_training_rows(dataset, "source", None)[0]
    both = np.concatenate([source, train])
    assert statistics.base_rate == pytest.approx(labels[both].mean())
    columns = found.rows.state[1].numpy()[:, len(NUMERIC) :] * statistics.std + statistics.mean
    test = select_test_rows(dataset, "target")
    folds = assign_folds(len(train), FOLD_SEED)
    for k, field in enumerate(CATEGORICAL):
        groups = slow_groups(refitted, table[field], 2)
        # A value that the source has once was counted with the rest there.
        once = groups.where(groups.isin({*slow_source(refitted, table[field])}), "rest")
        keys = groups.copy()
        keys.iloc[source] = once.iloc[source]
        clicks = labels[both].groupby(keys.iloc[both]).agg(["sum", "count"])
        expected = clicks.reindex(groups.iloc[test]).fillna(0).to_numpy()
        rate = (expected[:, 0] + 10 * statistics.base_rate) / (expected[:, 1] + 10)
        assert columns[test, k] == pytest.approx(np.log(rate / (1 - rate)), abs=1e-4)
        assert columns[test, 26 + k] == pytest.approx(np.log1p(expected[:, 1]), abs=1e-4)
        for place in range(0, len(train), 101):
            others = np.concatenate([source, train[folds != folds[place]]])
            same = labels[others][(keys.iloc[others] == groups.iloc[train[place]]).to_numpy()]
            rate = (same.sum() + 10 * statistics.base_rate) / (len(same) + 10)
            logit = np.log(rate / (1 - rate))
            assert columns[train[place], k] == pytest.approx(logit, abs=1e-4)


def slow_source(of: Refitted, values: pd.Series) -> list[str]:
    """The values that the backbone's own tables list, and the two groups of all others."""
    counts = values.iloc[select_training_rows(of[1], "source", None)[0]].value_counts()
    return [*counts[counts >= 2].index, "missing"]


def test_a_training_row_never_meets_its_own_label(
    refitted: Refitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dataset, _, train = refitted
    before, _ = start(refitted)
    labels = np.array(load_labels(dataset))
    own = train[assign_folds(len(train), FOLD_SEED) == 4]
    # As many clicks as before, in other rows of one fold.
    labels[own] = labels[own][::-1]
    assert (labels != load_labels(dataset)).any()
    monkeypatch.setattr("core.training.target_inputs.load_labels", lambda of: labels)
    after, _ = start(refitted)
    dense = [rows.state[1][torch.from_numpy(own)] for rows in (before.rows, after.rows)]
    assert torch.equal(*dense)
    others = torch.from_numpy(np.setdiff1d(train, own))
    assert not torch.equal(before.rows.state[1][others], after.rows.state[1][others])


@pytest.mark.parametrize("depth", [0, 1])
def test_frozen_embeddings_keep_every_vector_and_trained_ones_learn_the_new_values(
    depth: int, refitted: Refitted, tuned: dict[int, Run]
) -> None:
    workspace, _, card, _ = refitted
    model = load_model_card(workspace, tuned[depth])
    before, after = (
        load_preprocessing(one.folder / "preprocessing").field_sizes for one in (card, model)
    )
    known = torch.cat([torch.arange(size) < kept for kept, size in zip(before, after, strict=True)])
    name = "stages.0.table.weight"
    table, source = (load_backbone(one).state_dict()[name] for one in (model, card))
    assert len(table) > len(source)
    assert torch.equal(table[known], source) == (depth == 1)
    moved = (table != start(refitted)[0].network.state_dict()[name]).any(dim=1)
    assert moved[~known].any() == (depth == 0)
    assert model.trained_on["inputs"] == "refitted"
    assert model.preprocessing_hash != card.preprocessing_hash
    assert model.stages[0].parameters == table.numel()


def test_a_run_scores_alike_everywhere_and_what_cannot_be_compared_is_refused(
    refitted: Refitted, tuned: dict[int, Run], tmp_path: Path
) -> None:
    workspace, dataset, card, _ = refitted
    result = tuned[0].result
    assert result is not None and result.before is not None
    kept = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_test",))
    scores = load_predictions(workspace, tuned[0])
    test = kept.take(select_test_rows(dataset, "target"), CPU)
    assert np.array_equal(scores["target_test_before"], predict(load_backbone(card), test))
    evaluated = evaluate_on(workspace, tuned[0], dataset)["target_test"]
    assert evaluated.auc == pytest.approx(result.metrics["target_test"].auc, abs=1e-6)
    check_scored_file(workspace, dataset, tuned[0].id, tmp_path, scores["target_test_score"])
    with pytest.raises(BadInput, match="refitted"):
        measure_weight_drift(workspace, tuned[0])
    with pytest.raises(BadInput, match="refitted"):
        submit_interpolation(workspace, tuned[0])
    request = InterpolateRequest(dataset.id, tuned[0].id)
    with pytest.raises(BadInput, match="refitted"):
        interpolate(workspace, request, dataset, CPU, ListReporter())


def test_a_run_is_verified_and_stopped_and_resumed_equals_unbroken(
    refitted: Refitted, tuned: dict[int, Run]
) -> None:
    workspace = refitted[0]
    assert verify(workspace, tuned[1]).weights_same
    store = RunStore(workspace)
    broken = store.submit(request_of(refitted, 1), "test", "cpu")
    store.claim("cpu", 1)
    with pytest.raises(CancelledError):
        execute(workspace, broken, ListReporter(stop_at=3))
    result = execute(workspace, broken, ListReporter())
    store.finish(broken.id, "done", result=result)
    again, whole = (load_model_card(workspace, run) for run in (store.get(broken.id), tuned[1]))
    assert again.weights_sha256 == whole.weights_sha256


def test_controls_ignore_the_choice_and_pictures_refuse_it(refitted: Refitted) -> None:
    workspace, _, card, _ = refitted
    runs = submit_finetune(workspace, request_of(refitted, 0), ["zero-shot"], run_here=True)
    assert [run.finetune_request.inputs for run in runs] == ["refitted", "kept"]
    assert "--inputs refitted" in command_line(workspace, runs[0].request)
    assert "--inputs" not in command_line(workspace, runs[1].request)
    with pytest.raises(BadInput, match="pictures"):
        check_inputs(dataclasses.replace(card, architecture="vgg19"), "refitted")
