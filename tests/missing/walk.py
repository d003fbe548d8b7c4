"""Finds, in the code itself, every function that reads a metric: no list that someone has to
remember to extend.

A function reads metrics when

- it holds the name of a metric, or of a place where metrics lie, as a text or an attribute,
- it takes an object that carries metrics, differences of metrics or curves (which are empty where a
  class has no rows),
- or it calls a function of a module that measures, which may answer that there is no number.
"""

import ast
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.evaluation.metrics import all_names
from core.workspace import PROJECT

FOLDERS = ("core", "pages", "thaw")
COMMON_WORDS = frozenset({"rows", "threshold"})
"""Metrics whose names stand for much else; whoever reads one of them as a metric reads others
too."""
NAMES = frozenset(all_names()) - COMMON_WORDS
PLACES = frozenset({"metrics", "before", "validation_loss", "validation_auc", "best_validation"})
"""Keys of a result under which metrics lie by part, and points of a learning curve that are
metrics."""
MEASURING = ("core.evaluation", "core.runs.sweep_result", "core.report.arms")
"""Modules whose functions measure, or put measurements together."""
CARRIERS = frozenset(
    {
        "AUCDifference",
        "ArmCurves",
        "CalibrationBins",
        "ConfusionMatrix",
        "Choice",
        "Curve",
        "MeanEstimate",
        "MetricValues",
        "Metrics",
        "PairedDifference",
        "PairedLoss",
        "RateResult",
        "SeedSummary",
        "SliceDifference",
        "SliceMetrics",
        "ThresholdTable",
        "ValidationSummary",
        "Verdict",
    }
)
"""Types whose numbers may be missing."""


@dataclass(frozen=True, order=True)
class Function:
    """A function by its file, relative to the project, and the line where the interpreter has it
    begin."""

    file: str
    line: int
    name: str = dataclasses.field(compare=False)


def readers_of_metrics(root: Path = PROJECT) -> list[Function]:
    """Every function below core/, pages/ and thaw/ that reads a metric."""
    paths = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    return sorted(function for path in paths for function in _in_file(path, root))


def _in_file(path: Path, root: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    measures = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(MEASURING)
        for name in node.names
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef)
            and not _is_declaration(node)
            and _reads_metrics(node, measures)
        ):
            # What is decorated begins with its first decorator.
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            yield Function(path.relative_to(root).as_posix(), first, node.name)


def _reads_metrics(function: ast.FunctionDef, measures: set[str]) -> bool:
    parameters = [one for one in ast.walk(function.args) if isinstance(one, ast.arg)]
    taken = {
        name.id
        for one in parameters
        if one.annotation
        for name in ast.walk(one.annotation)
        if isinstance(name, ast.Name)
    }
    if taken & CARRIERS or any(one.arg == "metrics" for one in parameters):
        return True
    return any(_names_metric(node) or _calls(node, measures) for node in _own_nodes(function))


def _names_metric(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value in NAMES | PLACES
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and node.attr in NAMES | PLACES - {"before"}
    )


def _calls(node: ast.AST, measures: set[str]) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in measures
    )


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of its body, without those of functions inside it, which are found for
    themselves."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef):
            yield node
            waiting += ast.iter_child_nodes(node)


def _is_declaration(function: ast.FunctionDef) -> bool:
    """Whether its body is a docstring alone, as in a Protocol."""
    return all(
        isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in function.body
    )
