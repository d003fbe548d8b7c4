"""The examples in docstrings run, and show what the code returns."""

import doctest
import importlib

import pytest

from core.program import PROJECT

WITH_EXAMPLES = sorted(
    str(path.relative_to(PROJECT).with_suffix("")).replace("/", ".")
    for folder in ("core", "thaw")
    for path in (PROJECT / folder).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_examples_are_found() -> None:
    assert len(WITH_EXAMPLES) > 20


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_run(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".__init__"))
    results = doctest.testmod(module)
    assert results.failed == 0, "the differences are printed above"
