"""The package `thaw` as a whole: what importing it loads, what it names, what its keywords are."""

import argparse
import ast
import inspect
import subprocess
import sys

import pytest

import thaw
from core.cli.parser import build_parser
from core.program import VERSION
from core.workspace import PROJECT
from thaw import options
from thaw.display import Listing
from thaw.metrics import RunMetrics

CLASSES = (
    thaw.Workspace,
    thaw.Sample,
    thaw.Dataset,
    thaw.Backbone,
    thaw.Run,
    thaw.Sweep,
    Listing,
    RunMetrics,
)
NAMED_OTHERWISE = {
    "dataset", "backbone", "name", "json", "help", "dry_run", "preset", "target_rows", "controls",
    "strategy", "freeze_depth", "architecture", "objective", "start", "start_file", "mask_share",
    "statistics",
    "depths", "strategies", "surgical", "seeds", "rates", "learning_rates", "choose_rate",
    "target_sizes", "halving", "blend", "control_rows", "windows", "window", "window_start", "from",
    "window_column", "from_run", "more_seeds", "margin_auc", "margin_log_loss",
    "arms_at_once", "cluster", "sample", "min_count", "source", "target", "source_validation",
    "source_test", "target_validation", "target_test",
}  # fmt: skip
"""Options of the commands that the methods take as parameters of their own, or cannot take."""


def flags(command: str) -> set[str]:
    """The options of a command, as keywords."""
    (found,) = [
        one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)
    ]
    long = [flag for one in found.choices[command]._actions for flag in one.option_strings]
    names = {flag.removeprefix("--").replace("-", "_") for flag in long if flag.startswith("--")}
    return {name for name in names if not name.startswith("no_")} - NAMED_OTHERWISE


def test_importing_loads_neither_torch_nor_streamlit() -> None:
    code = "import sys, thaw; print({'torch', 'streamlit', 'numba', 'IPython'} & set(sys.modules))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_names_are_few_and_all_there() -> None:
    assert len(thaw.__all__) <= 12 and sorted(thaw.__all__) == thaw.__all__
    assert all(hasattr(thaw, name) for name in thaw.__all__)
    assert thaw.__version__ == VERSION
    assert (PROJECT / "thaw" / "py.typed").exists()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_whatever_is_public_says_what_it_does(cls: type) -> None:
    public = {name: one for name, one in vars(cls).items() if not name.startswith("_")}
    fields = getattr(cls, "__dataclass_fields__", {})
    undocumented = [name for name, one in public.items() if not inspect.getdoc(one)]
    undocumented = [name for name in undocumented if name not in fields]
    assert not undocumented and cls.__doc__
    for name, one in public.items():
        if inspect.isfunction(one):
            said = inspect.getdoc(one) or ""
            assert len(said.splitlines()[0]) <= 100, name
            assert inspect.signature(one).return_annotation is not inspect.Signature.empty, name


@pytest.mark.parametrize(
    ("command", "keywords"),
    [
        ("pretrain", options.PretrainOptions),
        ("finetune", options.FinetuneOptions),
        ("sweep", options.SweepOptions),
        ("prepare", options.SplitOptions),
    ],
)
def test_keywords_are_the_options_of_the_command(command: str, keywords: type) -> None:
    # A sweep has seeds instead of a seed, and names its surgical arms one by one.
    known = set(keywords.__annotations__) | ({"stages"} if command == "sweep" else set())
    assert known - ({"seed"} if command == "sweep" else set()) == flags(command)


def test_every_parameter_of_a_training_is_an_option_too() -> None:
    for method in (thaw.Workspace.pretrain, thaw.Workspace.finetune, thaw.Workspace.sweep):
        given = set(inspect.signature(method).parameters) - {"self", "data", "wait", "options"}
        assert given <= NAMED_OTHERWISE, method.__name__


def imported(folder: str) -> set[str]:
    """Packages that the modules of a folder import, at their top or inside functions."""
    found = set()
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found


def test_the_package_knows_the_core_and_nothing_knows_the_package() -> None:
    assert {"core", "pandas"} <= imported("thaw")
    assert imported("thaw").isdisjoint({"pages", "streamlit", "assets", "tests"})
    assert "thaw" not in imported("core") | imported("pages")
