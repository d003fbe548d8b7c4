"""Keeps a tiny workspace of today for tomorrow's Thaw: `python -m tests.faults.keep_workspace`
writes two archives.

`tests/faults/workspaces/schema-N.zip` of the store's version today, and schema-1.zip, where there
is none: the runs in a store of the first version. Run it when the schema changes; the archives
there are stay: they are what users have.
"""

import sqlite3
import tempfile
import zipfile
from pathlib import Path

from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.database import MIGRATIONS
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.workspace import Workspace, open_workspace
from tests.core.training.helpers import QUICK, pretrained, run_request

KEPT = Path(__file__).parent / "workspaces"


def make(root: Path) -> Workspace:
    """600 simulated rows, a backbone, a run done, one failed with tags and a note, one queued, and
    a curve for each."""
    workspace = open_workspace(root)
    path = workspace.uploads / "rows.tsv"
    simulate(path, 600, "both", seed=3)
    prepare(
        workspace, ingest(workspace, path, "kept", simulated=True), SplitSpec(), "kept", min_count=5
    )
    path.unlink()
    card, store = pretrained(workspace, "dnn"), RunStore(workspace)
    dataset = next(workspace.datasets.glob("d-*")).name
    request = FinetuneRequest(dataset, card.id, "depth", 1, train=QUICK, group="g-1")
    done = run_request(workspace, request)
    failed = store.submit(request, "failed", "cpu")
    store.claim("cpu", 1)
    store.finish(failed.id, "failed", "The loss became nan.")
    store.annotate(failed.id, "A run with a note", ["kept", "old"], "looked at on Monday")
    store.submit(request, "queued", "cpu")
    store.add_points(done.id, [(step, "train_loss", 1 / step) for step in range(1, 21)])
    return workspace


def first_version(workspace: Workspace) -> None:
    """Puts the runs and points into a store of schema version 1."""
    old = sqlite3.connect(workspace.root / "old.sqlite")
    for statement in MIGRATIONS[0].split(";"):
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    with sqlite3.connect(workspace.database) as now:
        for table in ("runs", "points"):
            # Columns that came later are left out.
            columns = [row[1] for row in old.execute(f"PRAGMA table_info({table})")]
            rows = now.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            old.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
    old.commit()
    old.close()
    for path in workspace.root.glob("thaw.sqlite*"):
        path.unlink()
    (workspace.root / "old.sqlite").rename(workspace.database)


def pack(workspace: Workspace, target: Path) -> None:
    """Writes the workspace into an archive."""
    with sqlite3.connect(workspace.database) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(workspace.root.rglob("*")):
            if (
                path.is_file()
                and not path.name.startswith("thaw.sqlite-")
                and workspace.cache not in path.parents
            ):
                archive.write(path, path.relative_to(workspace.root))


def main() -> None:
    """Writes both archives."""
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        workspace = make(Path(folder) / "workspace")
        today, first = KEPT / f"schema-{len(MIGRATIONS)}.zip", KEPT / "schema-1.zip"
        if not today.exists():
            pack(workspace, today)
        if not first.exists():
            first_version(workspace)
            pack(workspace, first)


if __name__ == "__main__":
    main()
