"""Simulated arms with known differences, for benchmarks.statistics.

A row has a true logit, its label is drawn from it, and an arm's logit of it is a slope times the
true one, a bias, and noise. Slope and bias differ by seed; the noise has a part that all arms
share, one of each arm that its seeds share, and one of each seed.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from core.evaluation.metric_functions import log_loss
from core.evaluation.roc_auc import roc_auc

MEAN_LOGIT, LOGIT_DEVIATION = -1.35, 1.3
"""Of the true logits: a click rate of 0.25, and an AUC of 0.78 for the best possible scores."""
SHARED = 0.7
"""Deviation of the noise that all arms share. Without it, an AUC would hardly depend on slopes."""
TRUTH_ROWS, NODES = 400_000, 5
"""Rows, and points of the Gauss-Hermite rule over a seed's slope and bias, of the true metrics."""


@dataclass(frozen=True)
class World:
    """What differs between arms; deviations in logits.

    Attributes:
        name: of the noise, in the table.
        slope: of a seed's slope, which moves AUC and log loss.
        bias: of a seed's intercept, which moves log loss alone.
        row: of a row, the same for all seeds of an arm.
        both: of a row within a seed.
        skill: mean slope.
    """

    name: str
    slope: float
    bias: float
    row: float
    both: float
    skill: float = 0.7

    def scores(self, generator: np.random.Generator, views: np.ndarray, seeds: int) -> np.ndarray:
        """Return click probabilities of one arm, shape ``(seeds, n_rows)``.

        views: from `draw_rows`.
        """
        logits, shared = views
        slopes = self.skill + self.slope * generator.normal(size=(seeds, 1))
        biases = self.bias * generator.normal(size=(seeds, 1))
        noise = shared + self.row * generator.normal(size=len(logits))
        noise = noise + self.both * generator.normal(size=(seeds, len(logits)))
        return np.asarray(expit(slopes * (logits - MEAN_LOGIT) + MEAN_LOGIT + biases + noise))


ROWS = World("rows dominate", slope=0.005, bias=0.005, row=0.5, both=0.1)
SEEDS = World("seeds dominate", slope=0.1, bias=0.15, row=0.02, both=0.05)
INTERACTION = World("interaction dominates", slope=0.0, bias=0.0, row=0.0, both=0.6)
ALIKE = World("all three alike", slope=0.03, bias=0.03, row=0.3, both=0.5)
WORLDS = (ROWS, SEEDS, INTERACTION, ALIKE)


def draw_rows(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (true logits and noise that all arms share, shape ``(2, rows)``, labels)."""
    logits = MEAN_LOGIT + LOGIT_DEVIATION * generator.normal(size=rows)
    shared = SHARED * generator.normal(size=rows)
    return np.stack([logits, shared]), (generator.random(rows) < expit(logits)).astype(np.float64)


def true_metrics(world: World) -> tuple[float, float]:
    """Return (AUC, log loss) that infinitely many rows and seeds would give."""
    generator = np.random.default_rng(99)
    (logits, shared), labels = draw_rows(generator, TRUTH_ROWS)
    # All noise of a row is one normal number to the metrics of a single seed.
    deviation = (world.row**2 + world.both**2) ** 0.5
    noise = shared + deviation * generator.normal(size=TRUTH_ROWS)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    auc = loss = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        scores = (world.skill + world.slope * node) * (logits - MEAN_LOGIT) + MEAN_LOGIT + noise
        auc += weight * roc_auc(labels, scores)
        for other, share in zip(nodes, weights, strict=True):
            loss += weight * share * log_loss(labels, expit(scores + world.bias * other))
    return auc, loss


def with_gain(world: World, gain: float) -> World:
    """Return the world with a better mean slope."""
    return replace(world, skill=world.skill + gain)


def for_one_seed(world: World) -> World:
    """Return the world in which the seed at hand is all there is, as tests of one seed have it."""
    return replace(world, slope=0.0, bias=0.0, row=(world.row**2 + world.both**2) ** 0.5, both=0.0)
