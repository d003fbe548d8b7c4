"""A run's model as a function of raw rows: what importance, one row and response curves ask.

A field's value reaches the model in several columns: its id, its number, its target statistic and
count, and every pair that it belongs to. `FieldInputs.permuted` moves all of them together.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from core.data.fitted_statistics import pair_columns
from core.data.preprocessing import Preprocessing, load_preprocessing
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.target_statistics import pair_keys
from core.errors import BadInput
from core.inference.blend_members import blended_runs
from core.inference.blend_weights import blend_scores
from core.inference.run_model import load_scoring_card, load_start_card
from core.jobs.store import Run
from core.models.backbone import load_backbone
from core.models.card import BackboneCard
from core.models.network import Activations, Network, click_probabilities
from core.training.devices import choose_device
from core.training.losses import EVAL_BATCH_SIZE
from core.workspace import Workspace


@dataclass(frozen=True)
class FieldInputs:
    """Encoded rows, and what is needed to give a field other values.

    Args:
        preprocessing: that encoded them.
        ids: int32 ``(n_rows, 39)``.
        numerics: float32 ``(n_rows, dense)``.
        pair_ids: int32 ``(n_rows, 39)``, the ids that pairs are counted by; None without pairs.
    """

    preprocessing: Preprocessing
    ids: np.ndarray
    numerics: np.ndarray
    pair_ids: np.ndarray | None

    def permuted(self, field: str, order: np.ndarray) -> tuple["FieldInputs", np.ndarray]:
        """Return the rows with the field's value of row ``order[i]`` in row i.

        An encoding depends on the values alone, so this equals encoding the permuted raw rows.

        Returns:
            Only the rows of which an input changed, and their indices: rows that get an equal
            value keep their score.
        """
        column = FIELDS.index(field)
        own = own_columns(self.preprocessing, field)
        different = (self.ids[order, column] != self.ids[:, column]) | (
            self.numerics[order][:, own] != self.numerics[:, own]
        ).any(axis=1)
        if self.pair_ids is not None:
            different |= self.pair_ids[order, column] != self.pair_ids[:, column]
        changed = np.flatnonzero(different)
        ids, numerics = self.ids[changed], self.numerics[changed]
        ids[:, column] = self.ids[order[changed], column]
        numerics[:, own] = self.numerics[order[changed]][:, own]
        pair_ids = None
        if self.pair_ids is not None:
            pair_ids = self.pair_ids[changed]
            pair_ids[:, column] = self.pair_ids[order[changed], column]
            self._encode_pairs(field, pair_ids, numerics)
        return FieldInputs(self.preprocessing, ids, numerics, pair_ids), changed

    def _encode_pairs(self, field: str, pair_ids: np.ndarray, numerics: np.ndarray) -> None:
        statistics = self.preprocessing.statistics
        assert statistics is not None
        columns = pair_columns_of_field(self.preprocessing, field)
        first = len(NUMERIC) + 2 * len(CATEGORICAL)
        for column in columns:
            k = column - first
            keys = pair_keys(pair_ids, *pair_columns(statistics.pairs[k]))
            values = statistics.pair_counts[k].target_statistics(keys, statistics.base_rate)
            place = 2 * len(CATEGORICAL) + k
            numerics[:, column] = (values - statistics.mean[place]) / statistics.std[place]


def own_columns(preprocessing: Preprocessing, field: str) -> list[int]:
    """Return the columns of the numerics that depend on this field alone."""
    if field in NUMERIC:
        return [NUMERIC.index(field)]
    if preprocessing.statistics is None:
        return []
    place = len(NUMERIC) + CATEGORICAL.index(field)
    return [place, place + len(CATEGORICAL)]


def pair_columns_of_field(preprocessing: Preprocessing, field: str) -> list[int]:
    """Return the columns of the numerics that hold a pair with this field."""
    if preprocessing.statistics is None:
        return []
    first = len(NUMERIC) + 2 * len(CATEGORICAL)
    return [first + k for k, pair in enumerate(preprocessing.statistics.pairs) if field in pair]


def encode_inputs(preprocessing: Preprocessing, table: pa.Table) -> FieldInputs:
    """Encode raw rows."""
    encoded = preprocessing.encode(table)
    pair_ids = None
    if preprocessing.statistics and preprocessing.statistics.pairs:
        pair_ids = encoded.ids.copy()
        pair_ids[:, len(NUMERIC) :] = preprocessing.categorical_statistic_ids(table)
    return FieldInputs(preprocessing, encoded.ids, encoded.numerics, pair_ids)


@dataclass(frozen=True)
class ModelMember:
    """One network of a model.

    Args:
        network: in eval mode, on `device`.
        preprocessing: of its inputs.
        device: to compute on.
    """

    network: Network
    preprocessing: Preprocessing
    device: torch.device

    def tensors(self, inputs: FieldInputs) -> Activations:
        """Return ``(ids, numerics)`` on the CPU."""
        return torch.from_numpy(inputs.ids), torch.from_numpy(inputs.numerics)


@dataclass(frozen=True)
class ClickModel:
    """What scores rows: one network, or the networks of a blend.

    Args:
        members: its networks.
        weights: of their logits, float64 ``(n_members,)``.
    """

    members: tuple[ModelMember, ...]
    weights: np.ndarray

    def encode(self, table: pa.Table) -> tuple[FieldInputs, ...]:
        """Encode raw rows for every member; members with equal preprocessing share the result."""
        known: dict[str, FieldInputs] = {}
        return tuple(
            known.setdefault(one.preprocessing.hash, encode_inputs(one.preprocessing, table))
            if one.preprocessing.hash not in known
            else known[one.preprocessing.hash]
            for one in self.members
        )

    def score(self, table: pa.Table) -> np.ndarray:
        """Return click probabilities of raw rows, float32 ``(n_rows,)``."""
        return self.combine(
            [
                score_together([member], inputs)[0]
                for member, inputs in zip(self.members, self.encode(table), strict=True)
            ]
        )

    def combine(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """Return the model's probabilities from those of its members."""
        return scores[0] if len(scores) == 1 else blend_scores(np.stack(scores), self.weights)


@torch.no_grad()
def score_together(members: Sequence[ModelMember], inputs: FieldInputs) -> list[np.ndarray]:
    """Return the probabilities of several networks on the same inputs, float32 each.

    Stages that the networks share, such as the frozen ones of a run and of its backbone, are
    computed once.

    Args:
        members: networks with equal preprocessing, on one device.
        inputs: of stage 0.
    """
    depth = shared_depth([one.network for one in members])
    device, state = members[0].device, members[0].tensors(inputs)
    found: list[list[Tensor]] = [[] for _ in members]
    for start in range(0, len(inputs.ids), EVAL_BATCH_SIZE):
        batch = tuple(one[start : start + EVAL_BATCH_SIZE].to(device) for one in state)
        prefix = members[0].network.run_stages(batch, 0, depth)
        for place, member in enumerate(members):
            found[place].append(click_probabilities(member.network(prefix, depth)))
    empty = np.zeros(0, np.float32)
    return [torch.cat(one).float().cpu().numpy() if one else empty for one in found]


def shared_depth(networks: Sequence[Network]) -> int:
    """Return how many first stages have the same weights and buffers in all networks."""
    if len(networks) == 1:
        return 0
    depth = 0
    for stages in zip(*(network.stage_list() for network in networks), strict=False):
        first = stages[0].state_dict()
        for other in stages[1:]:
            state = other.state_dict()
            if type(other) is not type(stages[0]) or state.keys() != first.keys():
                return depth
            if not all(torch.equal(first[name], state[name]) for name in first):
                return depth
        depth += 1
    return depth


def load_click_model(workspace: Workspace, run: Run) -> ClickModel:
    """Return the model that a run ended with.

    Raises:
        BadInput: the run is not done, does not score clicks, or a run of the blend was deleted.
    """
    if run.status != "done" or run.result is None or run.result.threshold is None:
        raise BadInput(
            f"Run {run.id} is {run.status} and has no model that scores clicks; choose a finished"
            " run that was trained on click labels."
        )
    if run.kind != "blend":
        return _single(load_scoring_card(workspace, run))
    assert run.result.blend is not None
    members = [load_click_model(workspace, one).members[0] for one in blended_runs(workspace, run)]
    return ClickModel(tuple(members), np.array([one.weight for one in run.result.blend.runs]))


def load_backbone_model(workspace: Workspace, run: Run) -> ClickModel | None:
    """Return the backbone that a run fine-tuned; None where it scores no clicks or is a blend's.

    Raises:
        BadInput: the backbone is gone or has other weights now.
    """
    if run.kind != "finetune":
        return None
    card = load_start_card(workspace, run)
    return _single(card) if card.scores_clicks else None


def _single(card: BackboneCard) -> ClickModel:
    device = choose_device("auto")
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    member = ModelMember(load_backbone(card).to(device), preprocessing, device)
    return ClickModel((member,), np.ones(1))


def double_precision(member: ModelMember) -> ModelMember:
    """Return the member on the CPU in float64, for gradients whose sum is checked."""
    cpu = torch.device("cpu")
    return dataclasses.replace(member, network=member.network.to(cpu).double(), device=cpu)
