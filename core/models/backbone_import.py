"""Import of a backbone: all of it once everything in it is checked, or nothing."""

import dataclasses
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from safetensors import SafetensorError, safe_open

from core.data.preprocessing import Preprocessing, load_preprocessing
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput, NameTaken
from core.files.durable import publish_folder, staging, sync_tree
from core.models.backbone import WEIGHTS_FILE, build_network, describe_stages, load_backbone
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard, StageCard, save_card
from core.models.card_check import MAX_DENSE, check_number, read_foreign_card, read_foreign_json
from core.models.foreign_files import (
    probe_weights,
    rewrite_statistics,
    rewrite_vocabulary,
    unpack_in_subprocess,
)
from core.models.network import Network
from core.models.registry import ARCHITECTURES
from core.names import names_lock
from core.read_only import require_writable
from core.workspace import Workspace, check_name, hash_file

_DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.bool: "BOOL",
}


def import_backbone(
    workspace: Workspace,
    path: Path,
    name: str = "",
    in_training: Callable[[], Collection[str]] = tuple,
) -> BackboneCard:
    """Import a backbone from a zip archive or folder (see core.models.exchange).

    Weights, vocabulary and card must fit each other. Stages, parameters and operations are measured
    again, and the card is marked as imported.

    Args:
        workspace: where it is stored.
        path: the archive or folder.
        name: its name; "" takes that of the card.
        in_training: names of backbones that are being pretrained; they count as taken.

    Raises:
        NameTaken: there is a backbone of that name.
        BadInput: anything else is wrong; the workspace is left as it was.
    """
    require_writable()
    try:
        with staging(workspace.backbones) as folder:
            return _import_into(workspace, path, name, folder, in_training)
    except OSError as error:
        raise BadInput(
            f"The backbone in {path.name!r} cannot be read or stored ({error.strerror})."
        ) from error


def _import_into(
    workspace: Workspace,
    path: Path,
    name: str,
    folder: Path,
    in_training: Callable[[], Collection[str]],
) -> BackboneCard:
    """As import_backbone; folder: an empty one, where it is met by no one until it is checked."""
    unpack_in_subprocess(path, folder)
    card = read_foreign_card(folder / "card.json")
    card = dataclasses.replace(
        card,
        id=f"b-{secrets.token_hex(4)}",
        name=_require_free_name(workspace, name or card.name, in_training()),
        imported=True,
        folder=folder,
    )
    preprocessing = _check_preprocessing(card)
    _check_weights(card, preprocessing)
    card = dataclasses.replace(card, stages=_measured_stages(card, preprocessing.n_dense))
    save_card(card, folder)
    target = workspace.backbones / card.id
    # What takes time goes before the names are held.
    sync_tree(folder)
    with names_lock(workspace):
        # Another process may have taken the name since.
        _require_free_name(workspace, card.name, in_training())
        publish_folder(folder, target)
    return dataclasses.replace(card, folder=target)


def _require_free_name(workspace: Workspace, name: str, in_training: Collection[str]) -> str:
    name = check_name(name, "backbone")
    if name in in_training or any(card.name == name for card in list_backbones(workspace)):
        raise NameTaken(f"There is already a backbone named {name!r}; give this one another name.")
    return name


def _check_preprocessing(card: BackboneCard) -> Preprocessing:
    """Return the preprocessing beside the card.

    Raises:
        BadInput: it is not complete, or not the one that the card names.
    """
    folder = card.folder / "preprocessing"
    values = read_foreign_json(folder / "preprocessing.json")
    _check_numbers(values)
    rewrite_vocabulary(folder / "vocabulary.parquet")
    statistics = folder / "statistics.parquet"
    if "statistics" in values:
        _check_statistics(values["statistics"], statistics)
        rewrite_statistics(statistics)
    elif statistics.exists():
        raise BadInput(
            "There is a 'statistics.parquet', but 'preprocessing.json' describes no statistics;"
            " export the backbone again."
        )
    try:
        preprocessing = load_preprocessing(folder)
    except BadInput as error:
        raise BadInput(
            f"The preprocessing beside the card cannot be used: {error.__cause__}."
        ) from error
    if preprocessing.hash != card.preprocessing_hash:
        raise BadInput(
            f"The card names the vocabulary {card.preprocessing_hash[:12]}…, but the one beside it"
            f" is {preprocessing.hash[:12]}…: they do not belong together."
        )
    if preprocessing.n_dense != card.n_dense:
        raise BadInput(
            f"The card's n_dense is {card.n_dense}, but the preprocessing beside it gives"
            f" {preprocessing.n_dense} floats a row: they do not belong together."
        )
    listed = preprocessing.statistics.values if preprocessing.statistics else {}
    for field, known in (*preprocessing.vocabularies.items(), *listed.items()):
        if known.null_count or len(pc.unique(known)) != len(known):
            raise BadInput(
                f"The vocabulary of {field} holds a value twice or none at all; it is damaged."
            )
    return preprocessing


def _check_numbers(values: Any) -> None:
    if not isinstance(values, dict) or not isinstance(values.get("hash"), str):
        raise BadInput(
            "'preprocessing.json' is not an object with a hash; export the backbone again."
        )
    for name in ("mean", "std"):
        numbers = values.get(name)
        if not isinstance(numbers, list) or len(numbers) != len(NUMERIC):
            raise BadInput(
                f"The preprocessing's {name} must be {len(NUMERIC)} numbers, one a numeric column."
            )
        for number in numbers:
            check_number(number, f"preprocessing.{name}")
    if min(values["std"]) <= 0:
        raise BadInput(
            f"The preprocessing's std holds {min(values['std'])!r}; deviations must be above 0."
        )
    for name in ("min_count", "fitted_rows"):
        check_number(values.get(name), f"preprocessing.{name}")


def _check_statistics(values: Any, path: Path) -> None:
    """Check the form of "statistics" in preprocessing.json; `load_statistics` checks the rest."""
    if not path.exists():
        raise BadInput(
            "'preprocessing.json' describes target statistics, but 'statistics.parquet' is missing;"
            " export the backbone again."
        )
    names = ("base_rate", "pairs", "mean", "std")
    if not isinstance(values, dict) or not {*names} <= {*values}:
        raise BadInput(f"The preprocessing's statistics must be an object with {', '.join(names)}.")
    check_number(values["base_rate"], "statistics.base_rate")
    pairs = values["pairs"]
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and {*map(type, pair)} == {str} for pair in pairs
    ):
        raise BadInput("The statistics' pairs must be a list of two field names each.")
    for name in ("mean", "std"):
        if not isinstance(values[name], list) or len(values[name]) > MAX_DENSE:
            raise BadInput(f"The statistics' {name} must be a list of numbers, one a column.")
        for number in values[name]:
            check_number(number, f"statistics.{name}")


def _check_weights(card: BackboneCard, preprocessing: Preprocessing) -> None:
    """Check that the weights are those that the card names and fit its network.

    Raises:
        BadInput: they are other weights, or have other names, shapes or dtypes than the network.
    """
    path = card.folder / WEIGHTS_FILE
    found = hash_file(path)
    if found != card.weights_sha256:
        raise BadInput(
            f"The card names weights of SHA-256 {card.weights_sha256[:12]}…, but those beside it"
            f" have {found[:12]}…: they were changed, or belong to another card."
        )
    # Keras places its tensors itself. On the device "meta" a network of any size takes no memory.
    device = "cpu" if ARCHITECTURES[card.architecture].required_package else "meta"
    field_sizes, dense = preprocessing.field_sizes, preprocessing.n_dense
    with torch.device(device):
        network = build_network(card.architecture, card.settings, field_sizes, card.head, dense)
    _check_structure(card, network)
    probe_weights(path)
    try:
        with safe_open(path, framework="pt") as file:
            _check_tensors(card, network, file, sum(field_sizes))
            for name in file.keys():  # noqa: SIM118 - no mapping
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise BadInput(
                        f"The weights {name!r} hold NaN or infinite numbers; they cannot be used."
                    )
    except SafetensorError as error:
        reason = str(error).splitlines()[0][:200]
        raise BadInput(
            f"{WEIGHTS_FILE!r} is not a complete safetensors file ({reason}); export the "
            "backbone again."
        ) from error


def _check_structure(card: BackboneCard, network: Network) -> None:
    about = f"a network {card.architecture!r} of the card's settings has"
    named, real = (
        [stage.name for stage in card.stages],
        [stage.name for stage in network.stage_list()],
    )
    if named != real:
        raise BadInput(f"The card names the stages {named}, but {about} {real}.")
    for field in ("representation", "members"):
        if getattr(card, field) != getattr(network, field):
            raise BadInput(
                f"The card's {field} is {getattr(card, field)}, but {about}"
                f" {getattr(network, field)}."
            )


def _check_tensors(card: BackboneCard, network: Network, file: Any, ids: int) -> None:
    """Compares the file's header with the network's tensors; nothing of the weights is read."""
    wanted = network.state_dict()
    stored = set(file.keys())
    for name, tensor in wanted.items():
        if name not in stored:
            raise BadInput(
                f"The weights lack the tensor {name!r}, which a network {card.architecture!r} has."
            )
        header = file.get_slice(name)
        shape, kind = header.get_shape(), header.get_dtype()
        needed, needed_kind = list(tensor.shape), _DTYPES[tensor.dtype]
        if shape != needed:
            rows = (
                f"; the vocabulary has {ids:,} ids in all"
                if needed[:1] == [ids] != shape[:1]
                else ""
            )
            raise BadInput(
                f"The tensor {name!r} has the shape {shape}, but a network "
                f"{card.architecture!r} of the card's settings and vocabulary needs "
                f"{needed}{rows}."
            )
        if kind != needed_kind:
            raise BadInput(
                f"The tensor {name!r} is stored as {kind}, but {needed_kind} is needed: "
                "convert it, and name the new SHA-256 in the card."
            )
    if extra := sorted(stored - set(wanted)):
        raise BadInput(
            f"The weights hold a tensor {extra[0][:80]!r}, which a network {card.architecture!r}"
            " has not."
        )


def _measured_stages(card: BackboneCard, dense: int) -> tuple[StageCard, ...]:
    """The stages as the loaded network has them, with the origins that the card states."""
    # Two rows such as real data has: numerics at the mean, and ten deviations above it.
    numerics = torch.tensor([[0.0], [10.0]]).expand(2, dense).contiguous()
    try:
        network = load_backbone(card)
        with torch.no_grad():
            finite = bool(
                torch.isfinite(
                    network((torch.zeros(2, len(FIELDS), dtype=torch.int64), numerics))
                ).all()
            )
        stages = describe_stages(network, len(FIELDS), dense)
    except (RuntimeError, IndexError, MemoryError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise BadInput(
            f"The network cannot be run with these weights ({reason}); they cannot be used."
        ) from error
    if not finite:
        raise BadInput("The weights give scores that are no finite numbers; they cannot be used.")
    return tuple(
        dataclasses.replace(stage, origin=stated.origin)
        for stage, stated in zip(stages, card.stages, strict=True)
    )
