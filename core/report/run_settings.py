"""The settings of a run that it reads, by the names that pages and reports show."""

from typing import Any

from core.freezing.strategies import STRATEGIES, has_own_model, is_trained
from core.jobs.requests import FinetuneRequest, request_to_json
from core.jobs.store import Run
from core.runs.sweep import arm_title

_ARM_FIELDS = (
    *("strategy", "freeze_depth", "options", "group", "kind", "dataset", "seed", "rates"),
    *("trial", "arm_name"),
)
"""Fields of a request that are no training settings: they name the arm, or are shown elsewhere."""
_OF_ANY_MODEL = ("window", "target rows", "validation share")
"""What a control reads that trains no network."""
_OF_FINETUNING = ("head", "inputs")
"""What a control does not read that trains a network of its own: head and inputs are new."""


def request_settings(request: FinetuneRequest) -> dict[str, Any]:
    """Return the settings that a fine-tuning run reads, by name, without those that name the arm.

    Those of the head and of training are included, with underscores as spaces. Zero-shot reads
    none; a logistic regression has neither batch size nor head.
    """
    if not is_trained(request.strategy):
        return {}
    values = request_to_json(request)
    flat = {
        # First, as it decides the test rows. What it starts from is named with the arm.
        "window": request.window.title if request.window else "none",
        **{name: value for name, value in values.items() if name != "window"},
        **values["train"],
        "head": "kept" if values["keep_head"] else "new",
        **{f"head_{name}": value for name, value in values["head"].items()},
    }
    named = {
        name.replace("_", " "): value
        for name, value in flat.items()
        if name not in (*_ARM_FIELDS, "train", "keep_head", "backbone")
    }
    if STRATEGIES[request.strategy].model:
        return {name: named[name] for name in _OF_ANY_MODEL}
    left_out = _OF_FINETUNING if has_own_model(request.strategy) else ()
    return {name: value for name, value in named.items() if name not in left_out}


def tested_rows_key(run: Run) -> tuple[Any, ...]:
    """Return what decides the target test rows of a run: two of the same key have the same rows."""
    window = run.window
    return run.dataset, *((window.number, window.windows, window.column) if window else ())


def titled_start(run: Run) -> str:
    """Return the run's arm, and that its windows go on from each other's models where they do.

    Such a run is another arm than one that starts from the backbone on the same window.
    """
    chained = run.window is not None and run.window.start == "last"
    return f"{arm_title(run)}, from the last window" if chained else arm_title(run)
