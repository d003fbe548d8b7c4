"""What a search within a budget asks for, beside what a sweep asks for."""

from dataclasses import dataclass

from core.errors import BadInput
from core.files.typed_json import check_types
from core.freezing.heads import HEAD_CHOICES

PRUNERS = ("median", "none")
"""What ends a run of a search early: Optuna's median pruner, or nothing."""
MAX_SEARCH_RUNS = 500
MAX_MINUTES = 60.0 * 24 * 14
RATE_SPAN = 10.0
"""By default rates are searched from a tenth of the settings' rate to ten times it."""
WEIGHT_DECAYS = (0.0, 1e-4, 1e-3, 1e-2)
"""Weight decays that a search tries by default."""
FIRST_TRIAL_SEED = 1000
"""Seed of the search's own runs; the runs that judge its winner have the seeds 0, 1, 2, …, so that
no run is in both."""


@dataclass(frozen=True)
class SearchSpec:
    """The space and the budget of a search.

    The strategies are the arms of the sweep (core.runs.sweep.SweepSpec), whose seeds are those of
    the runs that judge the winner.

    Args:
        runs: how many runs the search may take; 0 for no bound, which needs `minutes`.
        minutes: how long its runs may take in all; 0 for no bound. A run that has begun ends, so
            that the search may take one run longer.
        rate_low, rate_high: learning rates to search between, on a logarithmic scale.
        heads: which of "keep" and "new" to try.
        weight_decays: values to try.
        seed: of the sampler.
        trial_seeds: how many seeds each setting is tried with; the mean of their validation loss
            counts.
        pruner: one of PRUNERS.
        stopped: why the search does not go on, as a sentence; "" while it does.

    Raises:
        BadInput: a value is out of its range, occurs twice or has another type, or there is neither
            a number of runs nor of minutes.

    >>> SearchSpec(runs=20, rate_low=1e-4, rate_high=1e-2).heads
    ('keep', 'new')
    """

    runs: int = 20
    minutes: float = 0.0
    rate_low: float = 1e-4
    rate_high: float = 1e-2
    heads: tuple[str, ...] = HEAD_CHOICES
    weight_decays: tuple[float, ...] = WEIGHT_DECAYS
    seed: int = 0
    trial_seeds: int = 1
    pruner: str = "median"
    stopped: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        checks = (
            (0 <= self.runs <= MAX_SEARCH_RUNS, "runs", self.runs, f"0 to {MAX_SEARCH_RUNS}"),
            (0 <= self.minutes <= MAX_MINUTES, "minutes", self.minutes, f"0 to {MAX_MINUTES:g}"),
            (self.runs or self.minutes, "runs", self.runs, "1 or more where there are no minutes"),
            (
                0 < self.rate_low <= self.rate_high <= 1,
                "learning rates",
                f"{self.rate_low:g} to {self.rate_high:g}",
                "two rates above 0 and at most 1, the lower one first",
            ),
            (_distinct(self.heads, HEAD_CHOICES), "heads", self.heads, f"of {[*HEAD_CHOICES]}"),
            (
                _distinct(self.weight_decays) and all(0 <= one <= 10 for one in self.weight_decays),
                "weight decays",
                self.weight_decays,
                "one or more numbers from 0 to 10, each once",
            ),
            (0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647"),
            (1 <= self.trial_seeds <= 20, "seeds per setting", self.trial_seeds, "1 to 20"),
            (
                not self.runs or self.runs >= self.trial_seeds,
                "runs",
                self.runs,
                f"{self.trial_seeds} or more, the seeds of one setting",
            ),
            (self.pruner in PRUNERS, "pruner", self.pruner, f"one of {[*PRUNERS]}"),
        )
        for holds, name, value, expected in checks:
            if not holds:
                raise BadInput(f"The search's {name}: {value!r}; it must be {expected}.")

    @property
    def budget(self) -> str:
        """The budget in words.

        >>> SearchSpec(runs=20, minutes=10).budget
        '20 runs or 10 minutes, whichever ends first'
        """
        words = []
        if self.runs:
            words.append(f"{self.runs} run{'s' if self.runs > 1 else ''}")
        if self.minutes:
            words.append(f"{self.minutes:g} minute{'s' if self.minutes != 1 else ''}")
        return " or ".join(words) + (", whichever ends first" if len(words) > 1 else "")


def default_rates(rate: float) -> tuple[float, float]:
    """Return the lowest and the highest rate that are searched around a default rate.

    >>> default_rates(3e-4)
    (3e-05, 0.003)
    """
    return float(f"{rate / RATE_SPAN:.1e}"), min(1.0, float(f"{rate * RATE_SPAN:.1e}"))


def _distinct(values: tuple[object, ...], known: tuple[object, ...] | None = None) -> bool:
    return 0 < len(values) == len(set(values)) and (known is None or set(values) <= set(known))
