"""Checks of cards that others made: every field is of its kind and within bounds.

Nothing is built from a card before. Free of torch.
"""

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.data.schema import NUMERIC
from core.errors import BadInput
from core.models.card import BackboneCard, HeadSettings, StageCard
from core.models.registry import ARCHITECTURES, LATER_SETTINGS, Architecture, complete_settings

TRAINED_ON_FIELDS = ("dataset", "content_hash", "rows", "simulated", "domain")
TRAINED_ON_WORDS = {"head": ("kept", "new"), "inputs": ("kept", "refitted")}
TRAINED_ON_TEXTS = ("learner", "window")
"""Fields that only some cards have, and the words that they may be."""
TRAINED_ON_DOMAINS = ("source", "target", "source and target")
REQUIRED_WITH_AUC = ("auc", "auc_low", "auc_high", "log_loss", "rows")
AUC_BOUNDS = ("auc_low", "auc_high")
MAX_STAGES, MAX_METRICS, MAX_EARLIER, MAX_LAYERS = 64, 32, 16, 64
MAX_CHARACTERS_BY_FIELD = {"licence": 1000}
MAX_NUMBER = 1e300
MAX_DENSE = 13 + 52 + 741
"""Floats of a row beside its ids: the numeric fields, statistic and count of every categorical
field, and the statistics of all pairs of fields."""
MAX_CHARACTERS = 200
"""Most characters of a text without a limit of its own in MAX_CHARACTERS_BY_FIELD."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {
    field.name: field for field in dataclasses.fields(BackboneCard) if field.name != "folder"
}
_NEEDED = frozenset(name for name, field in _FIELDS.items() if field.default is dataclasses.MISSING)


def read_foreign_card(path: Path) -> BackboneCard:
    """Read and check a card.

    Stages keep only their names and origins; whatever can be measured on the network is measured.
    The id stays empty, since it is the maker's own.

    Raises:
        BadInput: it is no card; the message names the first field that is wrong.
    """
    values = _object(read_foreign_json(path), "card", _NEEDED, frozenset(_FIELDS) - _NEEDED)
    architecture = _text(values["architecture"], "architecture")
    if architecture == "trees":
        raise BadInput(
            "This is a control of boosted trees, which have no weights to fine-tune, so it is no"
            " backbone; its score.py scores rows."
        )
    if architecture not in ARCHITECTURES:
        raise BadInput(
            f"The card's architecture is {architecture!r}; Thaw knows {[*ARCHITECTURES]}."
        )
    known = ARCHITECTURES[architecture]
    objective = _text(values.get("objective", "supervised"), "objective")
    _require(
        objective in known.objectives, "objective", objective, f"one of {list(known.objectives)}"
    )
    return BackboneCard(
        id="",
        name=_text(values["name"], "name"),
        architecture=architecture,
        settings=_settings(architecture, values["settings"]),
        stages=tuple(
            _stage(stage, known, objective)
            for stage in _list(values["stages"], "stages", 1, MAX_STAGES)
        ),
        representation=_whole(values["representation"], "representation", 1, 2**31),
        head=_head(values["head"]),
        trained_on=_trained_on(values["trained_on"], "trained_on"),
        metrics=_metrics(values["metrics"]),
        preprocessing_hash=_digest(values["preprocessing_hash"], "preprocessing_hash"),
        weights_sha256=_digest(values["weights_sha256"], "weights_sha256"),
        licence=_text(values["licence"], "licence"),
        created=_moment(values["created"]),
        members=_whole(values.get("members", 1), "members", 1, 1024),
        objective=objective,
        n_dense=_whole(values.get("n_dense", len(NUMERIC)), "n_dense", len(NUMERIC), MAX_DENSE),
        earlier=tuple(
            _trained_on(one, "earlier")
            for one in _list(values.get("earlier", []), "earlier", 0, MAX_EARLIER)
        ),
    )


def read_foreign_json(path: Path) -> Any:
    """Read JSON; BadInput where it is none, or holds NaN or Infinity, which JSON does not have."""
    try:
        return json.loads(path.read_bytes().decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path.name!r} is not JSON text ({str(error)[:120]}); export the backbone again."
        ) from error


def check_number(value: object, field: str) -> float:
    """Return `value` if it is a finite number; else raise BadInput."""
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -MAX_NUMBER < value < MAX_NUMBER
    )
    _require(fits, field, value, "a finite number")
    return value  # type: ignore[return-value]


def _no_constant(word: str) -> float:
    raise ValueError(f"it holds {word}")


def _require(condition: bool, field: str, value: object, wanted: str) -> None:
    if not condition:
        shown = repr(value)
        raise BadInput(
            f"The card's {field} is {shown if len(shown) <= 80 else shown[:80] + '…'}; it must be"
            f" {wanted}."
        )


def _object(
    value: object, field: str, needed: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict:
    title = "card" if field == "card" else f"card's {field}"
    if not isinstance(value, dict):
        raise BadInput(f"The {title} is {repr(value)[:80]}; it must be an object of fields.")
    if missing := sorted(needed - set(value)):
        raise BadInput(
            f"The {title} lacks {', '.join(missing)}, without which a backbone cannot be used."
        )
    if unknown := sorted(set(value) - needed - optional):
        raise BadInput(
            f"The {title} has a field {unknown[0][:80]!r}, which this version of Thaw does not"
            " know."
        )
    return value


def _list(value: object, field: str, low: int, high: int) -> list:
    _require(isinstance(value, list), field, value, "a list")
    assert isinstance(value, list)
    _require(
        low <= len(value) <= high,
        field,
        f"a list of {len(value):,}",
        f"{low} to {high} entries long",
    )
    return value


def _text(value: object, field: str) -> str:
    most = MAX_CHARACTERS_BY_FIELD.get(field, MAX_CHARACTERS)
    # Such a text is safe wherever it is shown: on one line, and with nothing in it that a page
    # could take for HTML.
    plain = (
        isinstance(value, str)
        and value.isprintable()
        and not set(value) & set("<>")
        and value.strip() == value
    )
    _require(
        plain and 1 <= len(str(value)) <= most,
        field,
        value,
        f"plain text of 1 to {most} letters, without < and >",
    )
    return str(value)


def _whole(value: object, field: str, low: int, high: int) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(fits, field, value, f"a whole number from {low} to {high}")
    return value  # type: ignore[return-value]


def _digest(value: object, field: str) -> str:
    fits = isinstance(value, str) and _DIGEST.fullmatch(value) is not None
    _require(fits, field, value, "a SHA-256 in 64 hexadecimal digits")
    return str(value)


def _moment(value: object) -> str:
    try:
        moment = datetime.fromisoformat(_text(value, "created"))
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = datetime.max.replace(tzinfo=UTC)
    _require(
        2000 <= moment.year <= 2100,
        "created",
        value,
        "an ISO time such as 2026-11-25T12:00:00+00:00",
    )
    return moment.isoformat(timespec="seconds")


def _settings(architecture: str, value: object) -> dict[str, Any]:
    defaults = ARCHITECTURES[architecture].defaults
    later = LATER_SETTINGS & set(defaults)
    values = _object(value, "settings", frozenset(defaults) - later, later)
    for name, given in values.items():
        default = defaults[name]
        if isinstance(default, bool):
            _require(isinstance(given, bool), name, given, "true or false")
        elif isinstance(default, list):
            for one in _list(given, name, 1, MAX_LAYERS):
                _whole(one, name, 1, 2**31)
        elif isinstance(default, str):
            _text(given, name)
        elif isinstance(default, int):
            _whole(given, name, 0, 2**31)
        else:
            check_number(given, name)
    return complete_settings(architecture, values)


def _head(value: object) -> HeadSettings:
    values = _object(value, "head", frozenset({"hidden", "activation", "output"}))
    hidden = tuple(
        _whole(width, "head.hidden", 1, 2**31)
        for width in _list(values["hidden"], "head.hidden", 0, 64)
    )
    return HeadSettings(
        hidden, _text(values["activation"], "head"), _text(values["output"], "head")
    )


def _stage(value: object, architecture: Architecture, objective: str) -> StageCard:
    fields = frozenset(field.name for field in dataclasses.fields(StageCard))
    stage = _object(value, "stage", frozenset({"name"}), fields)
    origin = _text(stage.get("origin", "random" if objective == "none" else objective), "origin")
    known = [
        name for name in (*architecture.objectives, *architecture.initialisations) if name != "none"
    ]
    _require(origin in known, "origin", origin, f"one of {known}")
    return StageCard(_text(stage["name"], "stage"), "", 0, 0, 0, origin=origin)


def _trained_on(value: object, field: str) -> dict[str, Any]:
    optional = frozenset({*TRAINED_ON_WORDS, *TRAINED_ON_TEXTS})
    values = _object(value, field, frozenset(TRAINED_ON_FIELDS), optional)
    for name, words in TRAINED_ON_WORDS.items():
        word = values.get(name, words[0])
        _require(word in words, f"{field}.{name}", word, " or ".join(words))
    for name in TRAINED_ON_TEXTS:
        if name in values:
            _text(values[name], f"{field}.{name}")
    _text(values["dataset"], f"{field}.dataset")
    _digest(values["content_hash"], f"{field}.content_hash")
    _whole(values["rows"], f"{field}.rows", 0, 10**12)
    _require(
        isinstance(values["simulated"], bool),
        f"{field}.simulated",
        values["simulated"],
        "true or false",
    )
    _require(
        values["domain"] in TRAINED_ON_DOMAINS,
        f"{field}.domain",
        values["domain"],
        ", ".join(TRAINED_ON_DOMAINS),
    )
    return values


def _metrics(value: object) -> dict[str, float | None]:
    _require(isinstance(value, dict), "metrics", value, "an object of numbers")
    assert isinstance(value, dict)
    _require(
        len(value) <= MAX_METRICS, "metrics", f"{len(value):,} numbers", f"at most {MAX_METRICS}"
    )
    for name, number in value.items():
        _text(name, "metrics")
        if number is not None:
            check_number(number, f"metric {name!r}")
    # An AUC is shown with its rows and its interval, or not at all; that too few rows of a class
    # define no interval is said by an empty value for both of its ends.
    no_interval = all(end in value and value[end] is None for end in AUC_BOUNDS)
    for name in REQUIRED_WITH_AUC if value.get("auc") is not None else ():
        if not (no_interval and name in AUC_BOUNDS):
            check_number(value.get(name), f"metric {name!r}")
    return value
