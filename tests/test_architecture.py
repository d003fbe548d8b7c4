"""The direction of imports: pages never load torch, and the core never loads streamlit."""

import ast
import subprocess
import sys
from pathlib import Path

from core.workspace import PROJECT

TORCH_FREE = (
    "core.data",
    "core.freezing",
    "core.evaluation",
    "core.report",
    "core.models.card",
    "core.models.exchange",
    "core.models.foreign_files",
    "core.models.backbone_store",
    "core.models.registry",
    "core.training.default_settings",
    "core.training.settings",
    "core.runs.estimate",
    "core.jobs.store",
    "core.runs.submit",
    "core.runs.launch",
    "core.runs.subprocess_commands",
    "core.inference.weight_drift_files",
    "core.read_only",
    "core.error",
    "core.runs.tasks",
    "core.runs.artifacts",
    "core.runs.demo",
    "core.cli.parser",
    "core.cli.sweep_command",
    "core.tracking",
    "core.command_",
)


def modules(folder: str) -> list[str]:
    paths = sorted((PROJECT / folder).rglob("*.py"))
    return [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    ]


def loaded_after(code: str) -> set[str]:
    """Top-level names in sys.modules after `code` ran in a fresh interpreter."""
    program = (
        f"{code}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports_of(path: Path) -> str:
    """The import statements at the top level of a page, which as a script cannot be imported
    itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return "\n".join(
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    )


def test_what_pages_import_leaves_torch_out() -> None:
    pages = sorted((PROJECT / "pages").glob("*.py"))
    assert len(pages) >= 7
    components = [f"import {name}" for name in modules("pages/components")]
    loaded = loaded_after("\n".join([*map(imports_of, pages), *components]))
    assert "streamlit" in loaded
    assert loaded.isdisjoint({"torch", "numba"})


def test_no_core_module_loads_streamlit_or_the_optional_keras() -> None:
    names = modules("core")
    assert len(names) > 30
    assert loaded_after("\n".join(f"import {name}" for name in names)).isdisjoint(
        {"streamlit", "keras"}
    )


def test_the_torch_free_part_of_the_core_is() -> None:
    names = [name for name in modules("core") if name.startswith(TORCH_FREE)]
    assert len(names) > 25
    assert "torch" not in loaded_after("\n".join(f"import {name}" for name in names))
