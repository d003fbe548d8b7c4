"""The direction of imports: no package of the core imports one above it, pages never load torch,
and the core never loads streamlit."""

import ast
import subprocess
import sys
from pathlib import Path

from core.workspace import PROJECT

TORCH_FREE = (
    "core.data",
    "core.files",
    "core.freezing",
    "core.evaluation",
    "core.jobs",
    "core.report",
    "core.tracking",
    "core.inference.weight_drift_files",
    "core.models.backbone_store",
    "core.models.card",
    "core.models.exchange",
    "core.models.foreign_files",
    "core.models.registry",
    "core.training.default_settings",
    "core.runs.artifacts",
    "core.runs.demo",
    "core.runs.estimate",
    "core.runs.launch",
    "core.runs.submit",
    "core.runs.subprocess_commands",
    "core.runs.tasks",
    "core.inference.weight_drift_files",
    "core.cli",
    "core.error",
    "core.read_only",
    "core.__main__",
)

# From the ground up: a package may import packages of lower layers, and "" stands for core/*.py.
LAYERS = (
    ("", "files"),
    ("data",),
    ("models", "evaluation"),
    ("jobs",),
    ("freezing",),
    ("training",),
    ("inference",),
    ("runs",),
    ("report", "tracking"),
    ("cli",),
)
LAYER_OF = {package: number for number, layer in enumerate(LAYERS) for package in layer}


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


def package_of(module: str) -> str:
    """The package of core that a module is in, "" for one of core/*.py; the entry is a command."""
    if module == "core.__main__":
        return "cli"
    first = module.split(".")[1]
    return first if (PROJECT / "core" / first).is_dir() else ""


def imported_modules(path: Path) -> set[str]:
    """Modules of this project that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # Of "from core import errors" the module is core.errors; of others node.module will do.
            found |= (
                {f"core.{one.name}" for one in node.names}
                if node.module == "core"
                else {node.module}
            )
    return {name for name in found if name.partition(".")[0] in ("core", "pages", "thaw", "tests")}


def test_no_package_of_the_core_imports_one_above_it() -> None:
    upward = []
    for path in sorted((PROJECT / "core").rglob("*.py")):
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        if module == "core":
            continue
        own = package_of(module)
        for name in sorted(imported_modules(path)):
            other = package_of(name) if name.startswith("core.") else None
            ground = own in LAYERS[0] and other in LAYERS[0]
            if other != own and not ground and (other is None or LAYER_OF[other] >= LAYER_OF[own]):
                upward.append(f"{module} imports {name}")
    assert upward == []


def test_every_package_of_the_core_has_a_layer() -> None:
    packages = {path.parent.name for path in (PROJECT / "core").glob("*/__init__.py")}
    assert packages == set(LAYER_OF) - {""}


def test_pages_do_not_load_torch() -> None:
    pages = sorted((PROJECT / "pages").glob("*.py"))
    assert len(pages) >= 7
    components = [f"import {name}" for name in modules("pages/components")]
    loaded = loaded_after("\n".join([*map(imports_of, pages), *components]))
    assert "streamlit" in loaded
    assert loaded.isdisjoint({"torch", "numba", "optuna"})


def test_no_core_module_loads_streamlit_or_the_optional_keras() -> None:
    names = modules("core")
    assert len(names) > 30
    assert loaded_after("\n".join(f"import {name}" for name in names)).isdisjoint(
        {"streamlit", "keras"}
    )


def test_the_torch_free_modules_do_not_load_torch() -> None:
    names = [name for name in modules("core") if name.startswith(TORCH_FREE)]
    assert len(names) > 25
    assert "torch" not in loaded_after("\n".join(f"import {name}" for name in names))


def test_no_test_imports_a_test_module_or_a_conftest() -> None:
    """Tests share helper modules, so that a test module can be renamed or run alone."""
    for path in sorted((PROJECT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                names = [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
                shared = [
                    name
                    for name in names
                    if name.rpartition(".")[2].startswith(("test_", "conftest"))
                ]
                modules_only = [
                    name for name in shared if (PROJECT / f"{name.replace('.', '/')}.py").exists()
                ]
                assert not modules_only, f"{path}: line {node.lineno} imports {modules_only}"
