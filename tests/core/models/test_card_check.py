"""Cards from others: every fault is refused with a message, and nothing is left."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.models.backbone_import import import_backbone
from core.workspace import Workspace
from tests.core.models.exchange_files import (
    CARD,
    Files,
    packed,
    refused,
    with_card,
)

LONG = "x" * 2000


CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "lacks": ({"licence": ...}, "The card lacks licence"),
    "unknown": ({"run": "x"}, "a field 'run', which this version"),
    "architecture": (
        {"architecture": "vit"},
        r"architecture is 'vit'; Thaw knows \['lr', 'fm', 'dnn'",
    ),
    "architecture kind": (
        {"architecture": ["dnn"]},
        r"architecture is \['dnn'\]; it must be plain text",
    ),
    "html": (
        {"licence": "<b>mine</b>"},
        "licence is '<b>mine</b>'; it must be plain text .* without < and >",
    ),
    "lines": ({"licence": "a\nb"}, r"licence is 'a\\nb'; it must be plain text"),
    "backwards": ({"name": "a\u202eb"}, "name is .* it must be plain text"),
    "long": ({"licence": LONG}, "licence is 'xxxx"),
    "name": ({"name": "../../etc"}, "backbone name '../../etc' cannot be used"),
    "settings kind": ({"settings": []}, r"settings is \[\]; it must be an object"),
    "settings lack": (
        {"settings": {"widths": [8, 6]}},
        "card's settings lacks batch_norm, dropout, embedding",
    ),
    "hash": ({"weights_sha256": "xyz"}, "weights_sha256 is 'xyz'; it must be a SHA-256"),
    "other hash": (
        {"weights_sha256": "0" * 64},
        "names weights of SHA-256 000000000000…, but those beside it have",
    ),
    "vocabulary hash": (
        {"preprocessing_hash": "0" * 64},
        "names the vocabulary 000000000000…, but the one beside",
    ),
    "stages": ({"stages": []}, "stages is 'a list of 0'; it must be 1 to 64 entries long"),
    "stage names": (
        {"stages": [{"name": "embedding"}]},
        r"names the stages \['embedding'\], but a network 'dnn' .* has",
    ),
    "origin": (
        {"stages": [{"name": "embedding", "origin": "magic"}]},
        "origin is 'magic'; it must be one of",
    ),
    "representation": ({"representation": 7}, "representation is 7, but a network 'dnn' .* has 6"),
    "representation kind": (
        {"representation": "6"},
        "representation is '6'; it must be a whole number",
    ),
    "members": ({"members": 4}, "members is 4, but a network 'dnn' .* has 1"),
    "members kind": ({"members": True}, "members is True; it must be a whole number"),
    "head": (
        {"head": {"hidden": [3], "activation": "x", "output": "logit"}},
        "Head activation 'x' is unknown",
    ),
    "head kind": (
        {"head": {"hidden": 3, "activation": "relu", "output": "logit"}},
        "head.hidden is 3; it must be a l",
    ),
    "head size": (
        {"head": {"hidden": [9999], "activation": "relu", "output": "logit"}},
        r"Head layers \[9999\]",
    ),
    "metric": ({"metrics": {"auc": "0.9"}}, "metric 'auc' is '0.9'; it must be a finite number"),
    "metric alone": (
        {"metrics": {"auc": 0.9}},
        "metric 'auc_low' is None; it must be a finite number",
    ),
    "metric title": ({"metrics": {"<img>": 0.9}}, "metrics is '<img>'; it must be plain text"),
    "huge": ({"metrics": {"x": 10**400}}, "metric 'x' is 1000"),
    "trained on": (
        {"trained_on": {"dataset": "x"}},
        "card's trained_on lacks content_hash, domain, rows, simulated",
    ),
    "objective": (
        {"objective": "magic"},
        r"objective is 'magic'; it must be one of \['supervised', 'rfd'",
    ),
    "created": ({"created": "yesterday"}, "created is 'yesterday'; it must be an ISO time"),
    "year": ({"created": "0001-01-01"}, "created is '0001-01-01'; it must be an ISO time"),
    "earlier": ({"earlier": [{}] * 17}, "earlier is 'a list of 17'"),
}


@pytest.mark.parametrize("fault", CARDS)
def test_cards_that_are_refused(
    fault: str, files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    changes, sentence = CARDS[fault]
    refused(workspace, packed(tmp_path / "it.zip", with_card(files, **changes)), sentence)


@pytest.mark.parametrize("auc", [0.9, None])
def test_a_card_whose_test_rows_define_no_interval_is_taken(
    auc: float | None, files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    metrics = {
        "auc": auc,
        "auc_low": None,
        "auc_high": None,
        "log_loss": 0.5,
        "rows": 30,
        "click_rate": 1 / 30,
    }
    card = import_backbone(
        workspace, packed(tmp_path / "it.zip", with_card(files, metrics=metrics))
    )
    assert card.metrics == metrics
    half = {**metrics, "auc": 0.9, "auc_low": 0.8}
    refused(
        workspace,
        packed(tmp_path / "half.zip", with_card(files, metrics=half)),
        "metric 'auc_high' is None",
    )


SETTINGS: dict[str, tuple[Any, str]] = {
    "embedding": (257, "Embedding size is 257; it must be 1 to 256"),
    "dropout": (2, "Dropout is 2; it must be 0 to 0.95"),
    "widths": ([8, 10**9], r"Block widths \[8, 1000000000\] cannot be used"),
    "batch_norm": (1, "batch_norm is 1; it must be true or false"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_from_imported_cards_are_checked(
    name: str, files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    value, sentence = SETTINGS[name]
    settings = json.loads(files[CARD])["settings"]
    for given, said in (
        (value, sentence),
        ("4", f"{name} is '4'; it must be"),
        (None, f"{name} is None; it must be"),
    ):
        refused(
            workspace,
            packed(tmp_path / "it.zip", with_card(files, settings=settings | {name: given})),
            said,
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"not json", "'card.json' is not JSON text"),
        (b"\xff\xfe", "'card.json' is not JSON text"),
        (b"[" * 100_000, "'card.json' is not JSON text"),
        (b"[]", r"The card is \[\]; it must be an object"),
        (b'{"name": NaN}', "it holds NaN"),
    ],
)
def test_invalid_cards_are_refused(
    text: bytes, sentence: str, files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    refused(workspace, packed(tmp_path / "it.zip", files | {CARD: text}), sentence)
