"""The optimum of a linear probe by scikit-learn, independent of Thaw's training loop."""

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from core.data.datasets import load_labels, select_test_rows
from core.jobs.run import Run as StoredRun
from core.models.backbone import load_backbone
from core.models.backbone_store import find_backbone
from core.models.network import flatten_state
from core.training.results import SCORED_PARTS
from core.training.training_rows import load_rows, request_rows
from core.workspace import open_workspace
from thaw import Dataset, Workspace

INVERSE_PENALTIES = 10.0 ** np.arange(-4, 3.1, 0.5)


def converged_probe(workspace: Workspace, data: Dataset, run: StoredRun) -> dict[str, Any]:
    """Fit a logistic regression to the frozen representation of a linear probe's rows.

    The penalty is chosen by log loss on the run's validation rows.

    Args:
        workspace: of the run.
        data: its dataset.
        run: a linear probe, whose rows and backbone are used.

    Returns:
        The penalty, AUC and log loss on test rows.
    """
    inner, dataset = open_workspace(workspace.folder), data.info
    request = run.finetune_request
    card = find_backbone(inner, request.backbone)
    network = load_backbone(card).eval()
    rows = load_rows(inner, dataset, card.folder / "preprocessing", ("target_train", *SCORED_PARTS))
    labels = load_labels(dataset)

    def representation(numbers: np.ndarray) -> np.ndarray:
        batch = rows.take(np.sort(numbers), torch.device("cpu"))
        with torch.no_grad():
            state = network.run_stages(batch.state, 0, len(network.stages))
        return flatten_state(state).double().numpy()

    train, validation = request_rows(dataset, request)
    test = select_test_rows(dataset, "target")
    scaler = StandardScaler().fit(representation(train))
    parts = {
        name: (scaler.transform(representation(numbers)), labels[np.sort(numbers)])
        for name, numbers in (("train", train), ("validation", validation), ("test", test))
    }
    fits = []
    for inverse_penalty in INVERSE_PENALTIES:
        model = LogisticRegression(C=inverse_penalty, max_iter=5000, tol=1e-8).fit(*parts["train"])
        scores = model.predict_proba(parts["validation"][0])[:, 1]
        fits.append((log_loss(parts["validation"][1], scores), inverse_penalty, model))
    _, inverse_penalty, model = min(fits, key=lambda one: one[0])
    x, y = parts["test"]
    scores = model.predict_proba(x)[:, 1]
    return {
        "inverse_penalty": float(inverse_penalty),
        "auc": float(roc_auc_score(y, scores)),
        "log_loss": float(log_loss(y, scores)),
        "train_rows": len(train),
    }
