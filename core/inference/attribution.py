"""One row explained: occlusion field by field, and integrated gradients.

Occlusion gives a field the value of a reference row and takes the difference of the logits.
Integrated gradients (Sundararajan et al., ICML 2017) go in a straight line from the reference's
embeddings and dense inputs to the row's and integrate the gradient of the logit. Their sum is the
difference of the two logits (completeness); what the sum over steps misses is reported as a gap.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.data.datasets import find_dataset, load_labels, select_test_rows
from core.data.schema import FIELDS
from core.errors import BadInput
from core.inference.blend_weights import logits_of
from core.inference.click_model import (
    ClickModel,
    ModelMember,
    double_precision,
    encode_inputs,
    load_backbone_model,
    load_click_model,
    own_columns,
    pair_columns_of_field,
)
from core.inference.explanation_files import (
    REFERENCES,
    FieldEffect,
    RowExplanation,
    Value,
    explanation_key,
    store,
)
from core.inference.importance import measured_rows
from core.inference.raw_rows import (
    RowValues,
    edited,
    make_table,
    read_rows,
    reference_row,
    row_values,
)
from core.jobs.store import Run
from core.models.layers import EmbeddingTable
from core.models.network import click_probabilities
from core.models.zoo.trees import Trees
from core.read_only import require_writable
from core.workspace import Workspace

STEPS = 256
"""Of the integral, by the midpoint rule."""


def explain_row(
    workspace: Workspace,
    run: Run,
    row: int | None = None,
    values: Mapping[str, Value] | None = None,
    reference: str = "typical",
) -> RowExplanation:
    """Explain the score of a target test row, or of a row of given values, and store it.

    Args:
        workspace: of the run.
        run: that is done and scores clicks.
        row: number of the row in the dataset; None starts from the reference row.
        values: that replace the row's.
        reference: one of REFERENCES.

    Raises:
        BadInput: the run scores no clicks, there is no such reference, or the row is not a target
            test row.
    """
    require_writable()
    if reference not in REFERENCES:
        raise BadInput(
            f"There is no reference {reference[:40]!r}; choose one of {', '.join(REFERENCES)}."
        )
    values = dict(values or {})
    dataset = find_dataset(workspace, run.dataset)
    tests = read_rows(workspace, dataset, measured_rows(dataset))
    against = reference_row(tests, reference)
    label, start = None, against
    if row is not None:
        if row not in select_test_rows(dataset, "target"):
            raise BadInput(
                f"Row {row} is not a target test row of {dataset.name!r}; the first one is"
                f" {int(select_test_rows(dataset, 'target')[0])}."
            )
        start = row_values(read_rows(workspace, dataset, np.array([row])))
        label = None if values else int(load_labels(dataset)[row])
    model, before = load_click_model(workspace, run), load_backbone_model(workspace, run)
    found = explain(model, before, edited(start, values), against)
    explanation = RowExplanation(
        run=run.id, row=row, label=label, changed=tuple(values), reference=reference, **found
    )
    store(workspace, run.id, explanation_key(row, values, reference), explanation)
    return explanation


def explain(
    model: ClickModel, before: ClickModel | None, row: RowValues, reference: RowValues
) -> dict[str, Any]:
    """Return the fields of `RowExplanation` that come from the models."""
    after_scores, occlusions = occlusion(model, row, reference)
    before_scores, before_occlusions = (
        occlusion(before, row, reference) if before else ((None, None), [None] * len(FIELDS))
    )
    gradients, gap = integrated_gradients(model, row, reference)
    fields = tuple(
        FieldEffect(field, row[field], reference[field], changed, gradient, earlier)
        for field, changed, gradient, earlier in zip(
            FIELDS, occlusions, gradients, before_occlusions, strict=True
        )
    )
    return {
        "score": after_scores[0],
        "reference_score": after_scores[1],
        "score_before": before_scores[0],
        "reference_before": before_scores[1],
        "fields": fields,
        "completeness_gap": gap,
        "steps": STEPS,
    }


def occlusion(
    model: ClickModel, row: RowValues, reference: RowValues
) -> tuple[tuple[float, float], list[float]]:
    """Return the scores of row and reference, and every field's difference of logits."""
    rows = [row, reference, *({**row, field: reference[field]} for field in FIELDS)]
    scores = model.score(make_table(rows))
    logits = logits_of(scores)
    return (float(scores[0]), float(scores[1])), (logits[0] - logits[2:]).tolist()


def integrated_gradients(
    model: ClickModel, row: RowValues, reference: RowValues, steps: int = STEPS
) -> tuple[list[float | None], float | None]:
    """Return every field's integrated gradient of the logit, and the gap of their sum.

    That of a pair of fields counts half for each. Of a blend, the weighted mean of its networks.
    None where a network has no embeddings or is made of trees, which have no gradient.
    """
    total, gap = np.zeros(len(FIELDS)), 0.0
    table = make_table([row, reference])
    for member, weight in zip(model.members, model.weights, strict=True):
        network = member.network
        if any(isinstance(one, Trees) for one in network.modules()) or not any(
            isinstance(one, EmbeddingTable) for one in network.stage_list()[0].modules()
        ):
            return [None] * len(FIELDS), None
        inputs = encode_inputs(member.preprocessing, table)
        tensors = (torch.from_numpy(inputs.ids), torch.from_numpy(inputs.numerics))
        found, missed = _member_gradients(double_precision(member), tensors, steps)
        total += weight * found
        gap += float(weight) * missed
    return [float(one) for one in total], gap


def _member_gradients(
    member: ModelMember, tensors: tuple[Tensor, Tensor], steps: int
) -> tuple[np.ndarray, float]:
    """Return the integrated gradients of a network in float64, and their gap."""
    network = member.network
    tables = [one for one in network.stage_list()[0].modules() if isinstance(one, EmbeddingTable)]
    ids, numerics = tensors[0], tensors[1].double()
    with torch.no_grad():
        ends = _logits(network, (ids, numerics))
        # Row and reference of every table, [2, fields, size].
        looked_up = _table_outputs(network, tables, (ids, numerics))
    alphas = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps

    def path(end: Tensor) -> Tensor:
        shape = (steps, *[1] * (end.ndim - 1))
        return (end[1] + alphas.view(shape) * (end[0] - end[1])).requires_grad_()

    vectors = [path(one) for one in looked_up]
    dense = path(numerics)
    with ExitStack() as stack:
        for table, output in zip(tables, vectors, strict=True):
            hook = table.register_forward_hook(_replace_output(output))
            stack.callback(hook.remove)
        logits = _logits(network, (ids[:1].expand(steps, -1), dense))
    gradients = torch.autograd.grad(logits.sum(), [*vectors, dense], allow_unused=True)
    found = np.zeros(len(FIELDS))
    for gradient, end in zip(gradients[:-1], looked_up, strict=True):
        if gradient is not None:
            found += (gradient.mean(0) * (end[0] - end[1])).sum(-1).numpy()
    if gradients[-1] is not None:
        by_column = (gradients[-1].mean(0) * (numerics[0] - numerics[1])).numpy()
        for place, field in enumerate(FIELDS):
            found[place] += by_column[own_columns(member.preprocessing, field)].sum()
            found[place] += by_column[pair_columns_of_field(member.preprocessing, field)].sum() / 2
    return found, float(found.sum() - (ends[0] - ends[1]))


def _replace_output(output: Tensor) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda module, inputs, result: output


def _table_outputs(
    network: nn.Module, tables: list[EmbeddingTable], state: tuple[Tensor, Tensor]
) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    with ExitStack() as stack:
        for place, table in enumerate(tables):

            def keep(module: nn.Module, inputs: object, result: Tensor, place: int = place) -> None:
                found[place] = result

            hook = table.register_forward_hook(keep)
            stack.callback(hook.remove)
        network(state)
    return [found[place] for place in range(len(tables))]


def _logits(network: nn.Module, state: tuple[Tensor, Tensor]) -> Tensor:
    """Return the logit of the click probability, ``(n_rows,)``."""
    outputs = network(state)
    if outputs.ndim == 2:
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
    return torch.logit(click_probabilities(outputs))
