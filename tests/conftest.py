"""Fixtures for all tests: an empty workspace, and a tiny prepared one that is made once and
copied."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.data.datasets import Dataset, find_dataset
from core.data.prepare import prepare
from core.data.preprocessing import load_preprocessing
from core.data.reading import reader_process
from core.data.reading.ingest import ingest
from core.data.reading.reader_server import Job, SendEvent
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.data.target_statistics import count_dense
from core.errors import BadInput
from core.models import model_stats
from core.workspace import Workspace, open_workspace
from tests.faults.disks import mount_small_disk

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A worker that a page under test starts would wait for more runs for ten minutes, and take its
# share of the cores.
os.environ.setdefault("THAW_WORKER_LINGER", "2")

REAL_ROWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "criteo_real_100k.tsv.gz"


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Puts the interpreter's __main__ back: page tests run scripts under that name, and a spawned
    process runs it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session", autouse=True)
def component_packages_sought_once() -> Iterator[None]:
    """Streamlit looks for components in every installed package whenever a page is opened, which
    takes longer than many a page; what is installed does not change meanwhile."""
    try:
        from streamlit.components.v2 import manifest_scanner
    except ModuleNotFoundError:
        # Tests of core alone run without it, such as those for a GPU.
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        scan = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, one for all tests of a process, as Playwright runs only once in it.

    A missing one is a failure and not a skip.
    """
    # Here, so that tests without a browser run where Playwright is not installed.
    from playwright.sync_api import sync_playwright

    from tests.e2e.helpers import CHROMIUM_FLAGS

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail(
            "The browser tests need Chromium on the PATH (Debian: apt-get install chromium); see"
            " `make test`."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def read_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process, for tests that change a constant or a function of the
    readers."""

    def call(
        job: Job, path: Path, request: dict[str, Any], on_event: SendEvent | None = None
    ) -> Any:
        answer = job(json.loads(json.dumps(request)), on_event or (lambda event: None))
        return json.loads(json.dumps(answer))

    monkeypatch.setattr(reader_process, "call", call)


@pytest.fixture
def real_rows() -> Path:
    """The real Criteo rows, read in place; the test is skipped if they are not available."""
    if not REAL_ROWS.exists():
        pytest.skip(
            "the real Criteo rows are not in ../shared/data here (their licence forbids copying"
            " them)"
        )
    return REAL_ROWS


@pytest.fixture(scope="session")
def tiny_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one simulated dataset of 3,000 rows, named tiny; copied for each test that
    asks."""
    workspace = open_workspace(tmp_path_factory.mktemp("tiny"))
    path = workspace.uploads / "tiny.tsv"
    simulate(path, 3000, "both", seed=3)
    sample = ingest(workspace, path, "tiny", simulated=True)
    prepare(workspace, sample, SplitSpec(), "tiny", min_count=5)
    return workspace.root


@pytest.fixture
def tiny(tiny_template: Path, tmp_path: Path) -> tuple[Workspace, Dataset]:
    """A fresh workspace holding the dataset tiny."""
    shutil.copytree(tiny_template, tmp_path / "tiny")
    workspace = open_workspace(tmp_path / "tiny")
    return workspace, find_dataset(workspace, "tiny")


@pytest.fixture(scope="session")
def swept_template(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of `tiny_template` with a finished sweep, for what reads results.

    Three freeze depths, zero-shot and a control, at two target sizes with two seeds.
    """
    from core.jobs.requests import TrainSettings
    from core.runs.dispatch import execute
    from core.runs.sweep import Arm, SweepSpec, submit_sweep
    from core.runs.worker import run_worker
    from tests.core.training.helpers import pretrained

    folder = tmp_path_factory.mktemp("swept") / "workspace"
    shutil.copytree(tiny_template, folder)
    workspace = open_workspace(folder)
    arms = (*(Arm("depth", depth) for depth in (0, 1, 3)),)
    arms += (Arm("zero-shot"), Arm("logistic-regression"))
    train = TrainSettings(epochs=1, batch_size=256, early_stopping=0, device="cpu")
    dataset, card = find_dataset(workspace, "tiny"), pretrained(workspace, "dnn")
    spec = SweepSpec(dataset.id, card.id, arms, (0, 1), target_sizes=(300, 0), train=train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.runs.sweep.ensure_worker", lambda workspace, queue: None)
        submit_sweep(workspace, spec, "two sizes")
        run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    return folder


@pytest.fixture
def swept(swept_template: Path, tmp_path: Path) -> Workspace:
    """A fresh copy of the workspace with the finished sweep."""
    shutil.copytree(swept_template, tmp_path / "swept")
    return open_workspace(tmp_path / "swept")


@pytest.fixture
def costs_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs counted without a process of their own, and no optional package installed: seconds less
    a page."""

    def count(
        workspace: Workspace,
        dataset: Dataset,
        group: model_stats.StatsRequest,
        statistics: str,
    ) -> subprocess.Popen[str]:
        from core.models.measure_stats import measure_stats

        sizes = load_preprocessing(dataset.folder / "preprocessing").field_sizes
        ended = subprocess.Popen(["true"], stderr=subprocess.PIPE, text=True)
        try:
            for name, settings in group.items():
                stats = measure_stats(name, settings, sizes, count_dense(statistics))
                model_stats.save_stats(workspace, dataset, stats, settings, statistics)
        except BadInput as error:
            ended = subprocess.Popen(
                ["sh", "-c", 'echo "thaw: $0" >&2; exit 2', str(error)],
                stderr=subprocess.PIPE,
                text=True,
            )
        ended.wait()
        return ended

    monkeypatch.setattr(model_stats, "_start", count)
    monkeypatch.setattr("core.models.registry.find_spec", lambda name: None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB; only root may mount one."""
    with mount_small_disk(tmp_path / "disk") as folder:
        yield folder
