"""Measure what fine-tuning changed: weights and outputs of every stage, and embedding vectors."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from core.data.datasets import select_test_rows
from core.data.preprocessing import FIRST_VALUE_ID, load_preprocessing
from core.data.schema import FIELDS
from core.errors import BadInput
from core.evaluation.geometry import linear_cka
from core.files.typed_json import to_json
from core.freezing.inputs import check_same_inputs
from core.freezing.strategies import is_trained
from core.inference.run_model import load_model_card, load_start_card
from core.inference.weight_drift_files import ARRAYS_FILE, NUMBERS_FILE, StageDrift, WeightDrift
from core.jobs.store import Run
from core.models.backbone import load_backbone
from core.models.card import BackboneCard
from core.models.network import Activations, Embedding, Network, flatten_state
from core.read_only import require_writable
from core.training.devices import choose_device
from core.training.run_dataset import find_run_dataset
from core.training.training_rows import load_rows
from core.workspace import Workspace, write_atomic, write_json

MAX_ROWS = 2000
"""Target test rows whose stage outputs are compared, evenly spaced; fewer if wider than
MAX_FLOATS."""
MAX_FLOATS = 2**25
"""Numbers of a stage's output for all compared rows, 128 MiB."""
CHUNK_ROWS = 256
MAP_VALUES = 200
"""Most frequent values per field whose vectors are kept for its map."""


def measure_weight_drift(
    workspace: Workspace, run: Run, on_progress: Callable[[float], None] | None = None
) -> WeightDrift:
    """Compare a fine-tuned network with its backbone and store the result in the run's folder.

    Args:
        workspace: of the run.
        run: a fine-tuning run that is done.
        on_progress: called with the share of the work that is done, 0 to 1.

    Raises:
        BadInput: the run trained no backbone, or refitted its inputs; or its backbone has other
            weights now.
    """
    require_writable()
    if (
        run.status != "done"
        or run.result is None
        or run.kind != "finetune"
        or not is_trained(run.strategy)
    ):
        raise BadInput(
            f"Run {run.id} is not a finished fine-tuning run, so no weights have changed; choose"
            " another run."
        )
    check_same_inputs(run.finetune_request, run.id)
    started = time.monotonic()
    report = on_progress or (lambda share: None)
    card, run_card = load_start_card(workspace, run), load_model_card(workspace, run)
    if card.preprocessing_hash != run_card.preprocessing_hash:
        raise BadInput(
            f"Run {run.id} trained a model of its own with a vocabulary of its own, so its weights"
            " cannot be compared with the backbone's; choose a fine-tuning run."
        )
    device = choose_device("auto")
    before, after = load_backbone(card).to(device), load_backbone(run_card).to(device)
    report(0.1)
    dataset = find_run_dataset(workspace, run)
    rows = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_test",))
    compared = subsample(select_test_rows(dataset, "target"), n_compared_rows(card))
    state = rows.take(compared, device).state
    report(0.3)
    stages = []
    states = [state, state]
    pairs = zip(
        card.stages, run.result.stages, before.stage_list(), after.stage_list(), strict=False
    )
    for index, (stage_card, stage_result, stage_before, stage_after) in enumerate(pairs):
        # One stage at a time, each network on its own outputs so far.
        states = [
            stage_outputs(network, index, inputs)
            for network, inputs in zip((before, after), states, strict=True)
        ]
        cka = linear_cka(*(flatten_state(outputs).float().cpu().numpy() for outputs in states))
        norm, distance = weight_distance(stage_before, stage_after)
        stages.append(
            StageDrift(
                name=stage_card.name,
                title=stage_card.title,
                frozen=stage_result.frozen,
                norm=norm,
                distance=distance,
                relative=distance / norm if norm else None,
                cka=None if np.isnan(cka) else cka,
            )
        )
        report(0.3 + 0.6 * (index + 1) / len(card.stages))
    arrays = embedding_arrays(before, after, card)
    folder = workspace.runs / run.id
    write_atomic(
        folder / ARRAYS_FILE, lambda part: np.savez_compressed(part, allow_pickle=False, **arrays)
    )
    result = WeightDrift(
        run=run.id,
        stages=tuple(stages),
        rows=len(compared),
        fields=tuple(field for field in FIELDS if f"{field}_before" in arrays),
        from_scratch=run.strategy == "scratch",
        seconds=round(time.monotonic() - started, 3),
    )
    write_json(folder / NUMBERS_FILE, to_json(result))
    return result


def n_compared_rows(card: BackboneCard) -> int:
    """Return how many rows' outputs are compared: at most `MAX_ROWS`, fewer for wide stages."""
    return min(MAX_ROWS, max(2, MAX_FLOATS // max(stage.outputs for stage in card.stages)))


def subsample(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """Return at most `max_rows` of `rows`, evenly spaced and in order.

    >>> subsample(np.arange(10), 4)
    array([0, 3, 6, 9])
    """
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(max_rows, len(rows))).astype(np.int64))]


@torch.no_grad()
def stage_outputs(network: Network, stage: int, state: Activations) -> Activations:
    """Return one stage's outputs for all rows of `state`, computed `CHUNK_ROWS` at a time."""
    parts = [
        network.run_stages(
            tuple(tensor[start : start + CHUNK_ROWS] for tensor in state), stage, stage + 1
        )
        for start in range(0, len(state[0]), CHUNK_ROWS)
    ]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def weight_distance(before: torch.nn.Module, after: torch.nn.Module) -> tuple[float, float]:
    """Return (norm before, norm of the change), with all parameters of a stage as one vector."""

    def norm(tensors: list[Tensor]) -> float:
        if not tensors:
            return 0.0
        # In float64: the difference of two large tables is small beside their norms.
        squares = [tensor.double().square().sum() for tensor in tensors]
        return float(torch.stack(squares).sum().sqrt())

    old, new = ([weight.detach() for weight in module.parameters()] for module in (before, after))
    return norm(old), norm([b.double() - a.double() for a, b in zip(old, new, strict=True)])


def embedding_arrays(before: Network, after: Network, card: BackboneCard) -> dict[str, np.ndarray]:
    """Return the embedding vectors of each field's most frequent values, before and after.

    Returns:
        FIELD_before and FIELD_after, float32 ``(values, size)``, and FIELD_values (text). Empty for
        a network without embedding vectors of at least two numbers.
    """
    tables = []
    for network in (before, after):
        first = network.stage_list()[0]
        if not isinstance(first, Embedding) or first.table.weight.shape[1] < 2:
            return {}
        tables.append(first.table.weight.detach().float().cpu().numpy())
    vocabularies = load_preprocessing(card.folder / "preprocessing").vocabularies
    arrays, start = {}, 0
    for field in FIELDS:
        # A vocabulary is sorted by count, so the first values are the most frequent ones.
        values = vocabularies[field].slice(0, MAP_VALUES).to_pylist()
        size = FIRST_VALUE_ID + len(vocabularies[field])
        rows = slice(start, start + FIRST_VALUE_ID + len(values))
        names = [
            "missing",
            "unseen",
            *(f"{value:g}" if isinstance(value, float) else value for value in values),
        ]
        arrays[f"{field}_before"], arrays[f"{field}_after"] = (table[rows] for table in tables)
        arrays[f"{field}_values"] = np.array(names, dtype=np.str_)
        start += size
    return arrays
