"""The wheel, built and installed into a fresh environment, works from an empty folder."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.program import VERSION
from core.workspace import BUNDLED_BACKBONES, PROJECT

# It imports hatchling, which only the build and these tests need.
hatch_build = pytest.importorskip("hatch_build")
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
IGNORED = [
    "assets/__init__.py",
    "assets/build_backbones.py",
    "assets/docs_site.py",
    "assets/screenshots.py",
    # A developer's own.
    ".streamlit/secrets.toml",
]
"""Files of the app's folders that only the repository needs."""


def build_wheel(project: Path, folder: Path) -> Path:
    """The wheel, built as `pip install .` builds it, but without a network."""
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    words += ["--wheel-dir", str(folder), str(project)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build_wheel(PROJECT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment that has the wheel, and finds the dependencies where this
    process does.
    """
    root = tmp_path_factory.mktemp("venv")
    venv.create(root, with_pip=False)
    python = root / "bin" / "python"
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *words], check=True)
    (site,) = (root / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return root / "bin"


@pytest.fixture
def environment() -> dict[str, str]:
    """Without what would lead an installed Thaw back to this checkout or to another workspace."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("THAW_HOME", "PYTHONPATH")
    }
    return {**kept, "THAW_WORKER_LINGER": "2"}


def test_the_wheel_has_what_the_app_needs_and_no_top_level_but_thaw(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {"thaw", f"thaw-{VERSION}.dist-info"}
    assert "thaw/py.typed" in names
    folders = [PROJECT / name for name in ("core", "pages", "assets", ".streamlit")]
    files = [PROJECT / "app.py", *(path for folder in folders for path in folder.rglob("*"))]
    tracked = [
        path.relative_to(PROJECT).as_posix()
        for path in files
        if path.is_file() and path.parent.name != "__pycache__"
    ]
    wanted = {f"thaw/_app/{name}" for name in tracked if name not in IGNORED}
    assert {name for name in names if name.startswith("thaw/_app/")} == wanted
    assert all((PROJECT / name).exists() for name in IGNORED if "secrets" not in name)
    assert sum(name.endswith("model.safetensors") for name in names) == len(
        [*BUNDLED_BACKBONES.iterdir()]
    )


def test_files_that_nobody_added_stay_out_of_the_wheel(wheel: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ("thaw", "core", "pages", "assets", ".streamlit"):
        shutil.copytree(PROJECT / name, copy / name)
    # Without .gitignore, as in an archive of the sources.
    for path in (*PROJECT.glob("requirements*.txt"), *PROJECT.glob("*.py")):
        shutil.copy(path, copy)
    for name in ("README.md", "LICENSE", "NOTICE", "pyproject.toml"):
        if (PROJECT / name).exists():
            shutil.copy(PROJECT / name, copy)
    strays = ["core/stray.key", ".streamlit/secrets.toml", "thaw/notes.txt", "assets/rows.tsv"]
    for name in (*strays, "pages/.env", "assets/backbones/simulated-dnn/secret.pem"):
        (copy / name).write_text("client_secret = 'not for anybody else'")
    built = build_wheel(copy, tmp_path)
    assert set(zipfile.ZipFile(built).namelist()) == set(zipfile.ZipFile(wheel).namelist())
    for name in (".gitignore", ".dockerignore"):
        ignored = (PROJECT / name).read_text(encoding="utf-8").splitlines()
        assert ".streamlit/secrets.toml" in ignored


def test_dependencies_and_extras_are_those_of_the_requirements_files(wheel: Path) -> None:
    def pinned(name: str) -> set[str]:
        lines = hatch_build.read_requirements(PROJECT / f"requirements{name}.txt")
        return {line.lower() for line in lines}

    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    required = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
    plain = {one.lower() for one in required if ";" not in one}
    assert plain == pinned("") and "torch==2.13.0" in plain
    for extra in hatch_build.EXTRAS:
        own = [one for one in required if one.endswith(f"extra == '{extra}'")]
        names = {one.partition(";")[0].strip().lower() for one in own}
        assert names >= pinned(f"-{extra}"), extra
    development = (PROJECT / "requirements-dev.txt").read_text()
    assert all(f"requirements-{extra}.txt" in development for extra in ("keras", "signin"))
    build = set(PYPROJECT["build-system"]["requires"])
    assert build <= pinned("-dev"), "so that the tests can build without a network"


@pytest.mark.timeout(600)
def test_the_command_works_from_an_empty_folder(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed / "thaw", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    def thaw(*words: str) -> str:
        done = call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert thaw("--version") == f"Thaw {VERSION}\n"
    said = thaw("--help")
    assert "usage: thaw [--workspace FOLDER] COMMAND" in said and "python -m core" not in said
    thaw("simulate", "--rows", "3000", "--domain", "both", "--out", "rows.tsv")
    made = json.loads(thaw("ingest", "rows.tsv", "--name", "rows", "--simulated", "--json"))
    assert made["dataset"]["rows"] == 3000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.tsv", "workspace"]
    # A worker of its own, started from here, finds its modules.
    words = ["--dataset", "rows", "--backbone", "Simulated DCNv2", "--freeze-depth", "4"]
    run = json.loads(thaw("finetune", *words, "--epochs", "1", "--device", "cpu", "--json"))["run"]
    assert run["status"] == "done" and run["result"]["metrics"]["target_test"]["auc"] > 0.5
    thaw("report", "--runs", run["id"], "--out", "run.html")
    report = (tmp_path / "run.html").read_text()
    assert "thaw finetune --dataset rows" in report and "python -m core" not in report
    refused = call("score", "--run", "r-none", "--input", "rows.tsv", "--output", "out.csv")
    assert refused.returncode == 2 and "`thaw runs` lists them" in refused.stderr


def test_import_thaw_works_from_an_empty_folder(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "import sys, thaw, core\nassert 'site-packages' in thaw.__file__ and 'thaw/_app' in "
        "core.__file__.replace('\\\\', '/')\nassert not {'torch', 'streamlit'} & "
        "set(sys.modules)\nprint(thaw.__version__, thaw.Workspace().folder)"
    )
    done = subprocess.run(
        [installed / "python", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [VERSION, str(tmp_path / "workspace")]


def test_another_package_named_core_is_named(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").touch()
    python: list[str | Path] = [installed / "python", "-c"]
    first = subprocess.run(
        [*python, "import core, thaw"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert f"another one of that name is loaded already ({tmp_path / 'core'})" in first.stderr
    # In the folder of a project with such a package thaw comes first, and works.
    (tmp_path / "app.py").touch()
    code = "import thaw, app; thaw.Workspace(); print('fine' if 'thaw' not in app.__file__ else '')"
    done = subprocess.run(
        [*python, code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.fixture
def served(installed: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of `thaw app`, started in an empty folder."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        words = ["app", "--port", str(port), "--headless"]
        server = subprocess.Popen(
            [installed / "thaw", *words], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=3).read()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def test_the_app_answers_with_its_own_settings(served: str, tmp_path: Path) -> None:
    def get(path: str) -> tuple[bytes, str]:
        with urllib.request.urlopen(f"{served}{path}", timeout=10) as answer:
            return answer.read(), str(answer.headers)

    assert get("/_stcore/health")[0] == b"ok"
    assert len(get("/assets/plotly.min.js")[0]) > 10**6
    assert "content-security-policy" in get("/")[1].lower(), (
        "the middleware of pages/server stands before Streamlit"
    )
    assert (tmp_path / "workspace").is_dir(), "below the folder in which the command was given"


@pytest.mark.e2e
def test_the_installed_app_shows_its_pages(served: str, browser: Browser) -> None:
    page = browser.new_page()
    # The list of backbones needs pages, core, assets and a card of each of them.
    page.goto(f"{served}/backbones")
    expect(page.get_by_text("Simulated DCNv2").first).to_be_visible(timeout=60_000)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)
    page.close()
