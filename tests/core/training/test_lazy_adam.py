"""Lazy Adam against torch's own SparseAdam and AdamW."""

from pathlib import Path

import pytest
import torch
from torch import nn

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.runs.dispatch import execute
from core.training import lazy_adam
from core.training.lazy_adam import LazyAdamW, coalesce_rows, use_sparse_gradients
from core.training.loop import CancelledError
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, pretrained, run_request


def test_sparse_rows_move_as_by_torchs_sparse_adam() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Embedding(50, 4, sparse=True), nn.Embedding(50, 4, sparse=True)
    theirs.load_state_dict(ours.state_dict())
    optimiser, peer = (
        LazyAdamW(ours.parameters(), lr=0.01),
        torch.optim.SparseAdam([*theirs.parameters()], lr=0.01),
    )
    untouched = ours.weight[40:].clone()
    for step in range(20):
        ids = torch.randint(0, 40, (7, 5), generator=torch.Generator().manual_seed(step))
        for table, one in ((ours, optimiser), (theirs, peer)):
            one.zero_grad()
            table(ids).square().sum(dim=(1, 2)).sin().sum().backward()
            one.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-7)
    assert torch.equal(ours.weight[40:], untouched)


def test_dense_parameters_move_as_by_torchs_adamw_to_the_last_bit() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    pairs = [
        (ours, LazyAdamW(ours.parameters(), lr=0.01, weight_decay=0.1, fused=True)),
        (theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1, fused=True)),
    ]
    for layer, optimiser in pairs:
        for step in range(5):
            optimiser.zero_grad()
            layer(torch.full((2, 4), float(step))).square().sum().backward()
            optimiser.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_double_rows_are_summed_as_by_coalesce() -> None:
    table = nn.Embedding(9, 3, sparse=True)
    (table(torch.tensor([4, 1, 4, 4, 7])) * torch.arange(15.0).reshape(5, 3)).sum().backward()
    assert table.weight.grad is not None
    rows, sums = coalesce_rows(table.weight.grad)
    whole = table.weight.grad.coalesce()
    assert torch.equal(rows, whole.indices()[0])
    torch.testing.assert_close(sums, whole.values())


def test_a_restored_optimiser_continues_to_the_same_weights(tmp_path: Path) -> None:
    def steps(table: nn.Embedding, optimiser: LazyAdamW, numbers: range) -> None:
        for step in numbers:
            optimiser.zero_grad()
            table(torch.tensor([step % 5, 2])).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    unbroken = nn.Embedding(6, 2, sparse=True)
    broken = nn.Embedding(6, 2, sparse=True)
    broken.load_state_dict(unbroken.state_dict())
    steps(unbroken, LazyAdamW(unbroken.parameters(), fused=True), range(10))
    first = LazyAdamW(broken.parameters(), fused=True)
    steps(broken, first, range(4))
    torch.save(first.state_dict(), tmp_path / "optimiser.pt")
    second = LazyAdamW(broken.parameters(), fused=True)
    second.load_state_dict(torch.load(tmp_path / "optimiser.pt", weights_only=True))
    steps(broken, second, range(4, 10))
    assert torch.equal(broken.weight, unbroken.weight)


def test_only_big_tables_are_looked_up_sparsely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_adam, "SPARSE_MIN_ROWS", 10)
    network = nn.ModuleList([nn.Embedding(9, 2), nn.Embedding(10, 2), nn.Linear(20, 2)])
    use_sparse_gradients(network)
    assert [table.sparse for table in network if isinstance(table, nn.Embedding)] == [False, True]


def test_a_run_with_sparse_tables_learns_and_resumes_to_the_same_weights(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "deepfm")
    dense = run_request(workspace, FinetuneRequest(dataset.id, card.id, train=QUICK))
    monkeypatch.setattr(lazy_adam, "SPARSE_MIN_ROWS", 1)
    request = FinetuneRequest(dataset.id, card.id, train=QUICK)
    whole = run_request(workspace, request)
    store = RunStore(workspace)
    run = store.submit(request, "broken", "cpu")
    with pytest.raises(CancelledError):
        execute(workspace, run, ListReporter(stop_at=4))
    # The checkpoint of the first epoch, or none: either way the rest ends where the unbroken run
    # did.
    result = execute(workspace, run, ListReporter())
    assert whole.result is not None and dense.result is not None
    assert result.metrics == whole.result.metrics
    ours, plain = (one.result.metrics["target_test"]["auc"] for one in (whole, dense) if one.result)
    # Another optimiser, the same task: nearly the same AUC, and not the same bits.
    assert ours == pytest.approx(plain, abs=0.03) and ours != plain
