"""Gradient norms of stages, and the two strategies that decide by them: Auto-RGN and AutoFreeze."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.jobs.reporter import Point
from core.models.network import Network
from core.training.lazy_adam import coalesce_rows
from core.training.param_groups import ParamGroup

AUTOFREEZE_QUANTILE = 0.5
"""AutoFreeze freezes stages whose gradient norm changes less than this quantile (the paper's)."""
GradientSums = dict[int, list[Tensor]]
"""Per stage, by its index, the sum of the gradients of every parameter over an epoch."""


def gradient_norms(groups: Sequence[ParamGroup]) -> Tensor:
    """Return the gradient norm of each group, ``(groups,)``; 0 for a group without gradients."""
    norms = []
    for group in groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        # A sparse gradient lists a row once per look-up; the norm is that of their sum.
        squares = [
            (coalesce_rows(gradient)[1] if gradient.is_sparse else gradient).square().sum()
            for gradient in gradients
        ]
        no_gradient = group["params"][0].new_zeros(())
        norms.append(torch.stack(squares).sum().sqrt() if squares else no_gradient)
    return torch.stack(norms)


def gradient_points(
    groups: Sequence[ParamGroup], norms: Sequence[float], network: Network, step: int
) -> list[Point]:
    """Return a point "gradient/STAGE" for every stage that trains at `step`, the head included.

    Args:
        groups: the optimiser's.
        norms: one per group, as `gradient_norms` returns them.
        network: names the stages.
        step: optimiser step of the points.
    """
    names = [*(stage.name for stage in network.stage_list()), "head"]
    return [
        (step, f"gradient/{names[group['stage']]}", norm)
        for group, norm in zip(groups, norms, strict=True)
        if norm
    ]


@torch.no_grad()
def auto_rgn_scales(groups: Sequence[ParamGroup]) -> list[float]:
    """Return the learning-rate scales of Auto-RGN (Lee et al.: Surgical Fine-Tuning, ICLR 2023).

    That of a stage is its relative gradient norm, gradient norm over weight norm, divided by the
    largest one of all stages. The head keeps its scale: its relative gradient norm says how far its
    weights are from zero rather than how well it fits the target, as a new head starts from small
    ones.

    Args:
        groups: one per stage and, last, one for the head, with their gradients.
    """
    *groups, head = groups
    weight_norms = [
        torch.stack([parameter.square().sum() for parameter in group["params"]]).sum().sqrt()
        for group in groups
    ]
    relative = gradient_norms(groups) / torch.stack(weight_norms).clamp_min(1e-12)
    return [*(relative / relative.max().clamp_min(1e-12)).tolist(), head["lr_scale"]]


@torch.no_grad()
def add_gradients(sums: GradientSums, groups: Sequence[ParamGroup]) -> None:
    """Add the gradients of a step to the sums over the epoch; the first ones make the sums.

    Args:
        sums: changed in place.
        groups: of the stages, without the head; a stage that is frozen has no gradients.
    """
    for group in groups:
        gradients = [one.grad for one in group["params"] if one.grad is not None]
        if not gradients:
            continue
        if group["stage"] in sums:
            torch._foreach_add_(sums[group["stage"]], gradients)
        else:
            sums[group["stage"]] = [gradient.clone() for gradient in gradients]


def stage_norms(sums: GradientSums, n_stages: int) -> list[float]:
    """Return the norm of the summed gradients of each stage; 0 where there are none.

    It is the sum of absolute values, as in the authors' code.
    """
    return [
        float(sum(one.abs().sum() for one in sums[index])) if index in sums else 0.0
        for index in range(n_stages)
    ]


def update_autofreeze_depth(
    previous_norms: Sequence[float], norms: Sequence[float], autofreeze_depth: int
) -> int:
    """Return how many leading stages AutoFreeze freezes from now on (Liu et al. 2021, eq. 2).

    From the first stage that still trains upwards, stages freeze as long as the relative change of
    the norm of their summed gradients is below the median change of all stages that still train.

    Args:
        previous_norms: norm of the gradients of each stage, without the head, that were summed over
            the last epoch (`stage_norms`).
        norms: the same for this epoch.
        autofreeze_depth: leading stages that are frozen already.

    >>> update_autofreeze_depth([1.0, 1.0, 1.0], [1.1, 1.5, 2.0], 0)
    1
    """
    changes = [
        abs(before - now) / before if before else 0.0
        for before, now in zip(
            previous_norms[autofreeze_depth:], norms[autofreeze_depth:], strict=True
        )
    ]
    if not changes:
        return autofreeze_depth
    limit = np.quantile(changes, AUTOFREEZE_QUANTILE)
    for change in changes:
        if change >= limit:
            break
        autofreeze_depth += 1
    return autofreeze_depth
