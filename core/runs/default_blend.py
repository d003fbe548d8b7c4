"""The blend that a sweep gets by default, once its runs have ended: a network and boosted trees.

Both models are of different kinds, so that their errors differ, and a blend of the two is what a
practitioner would try next. It is chosen by validation rows alone, see `core.runs.blends`.
"""

from collections.abc import Sequence

from core.errors import BadInput
from core.jobs.store import Run, RunStore
from core.names import names_lock
from core.runs.blends import BOOSTING, NO_NETWORK, blend_arms
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Arm, Sweep, list_sweeps
from core.workspace import Workspace

BLEND_SENTENCE = (
    "Once all runs have ended, the network that leads on validation rows is blended with gradient"
    " boosting, as a further arm."
)


def can_blend(arms: Sequence[Arm]) -> bool:
    """Whether a sweep of these arms has what its default blend is made of.

    >>> can_blend([Arm("full"), Arm("gradient-boosting")]), can_blend([Arm("full")])
    (True, False)
    """
    strategies = {arm.strategy for arm in arms}
    return BOOSTING in strategies and bool(strategies - {*NO_NETWORK})


def queue_default_blends(workspace: Workspace, sweep: Sweep) -> list[Run]:
    """Queue the default blend of a sweep for every seed, once all other runs have ended.

    Returns:
        The blends; none where the sweep has none by default, a run has not ended, or the arms to
        blend have no finished run.
    """
    # Two processes may ask at once: the worker, and a command that waits for the sweep.
    try:
        with names_lock(workspace):
            runs = RunStore(workspace).list_group(sweep.id)
            if not sweep.spec.blend or not runs or any(run.active for run in runs):
                return []
            return blend_arms(workspace, sweep, run_here=runs[0].queue == CLUSTER_QUEUE)
    except BadInput:
        # An arm failed, say; what there is can still be blended by hand.
        return []


def queue_blends_after(workspace: Workspace, runs: Sequence[Run]) -> None:
    """Queue the default blends of the sweeps of runs that have just ended.

    Not after a blend: one that failed would be queued again for ever.
    """
    groups = {run.group for run in runs if run.group and run.kind != "blend"}
    for sweep in list_sweeps(workspace) if groups else ():
        if sweep.id in groups:
            queue_default_blends(workspace, sweep)
