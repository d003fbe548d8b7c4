"""Backbones as networks: built, described stage by stage, saved and loaded as safetensors."""

import dataclasses
import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core.data.preprocessing import load_preprocessing
from core.data.schema import NUMERIC
from core.errors import BadInput, caused_by_system
from core.files.durable import make_folder, publish_folder, staging
from core.models.card import WEIGHTS_FILE as WEIGHTS_FILE
from core.models.card import BackboneCard, HeadSettings, StageCard, save_card
from core.models.network import Network, biases_and_norms, linear_layers
from core.models.registry import complete_settings, find_architecture
from core.workspace import hash_file, write_atomic


def build_network(
    architecture: str,
    settings: dict[str, Any],
    field_sizes: Sequence[int],
    head: HeadSettings,
    dense: int = len(NUMERIC),
) -> Network:
    """Build a network with random weights.

    Args:
        architecture: a key of ARCHITECTURES.
        settings: those that differ from the architecture's defaults.
        field_sizes: number of values of each field.
        head: settings of its head.
        dense: floats of a row beside its ids, see Preprocessing.n_dense.

    Raises:
        BadInput: the settings make no network, or the package it needs is not installed.
    """
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in complete_settings(architecture, settings).items()
    }
    known = find_architecture(architecture)
    assert known is not None
    module = importlib.import_module(known.module)
    return module.build(module.Settings(**values), field_sizes, head, dense)


def describe_stages(
    network: Network, fields: int, dense: int = len(NUMERIC)
) -> tuple[StageCard, ...]:
    """A card for each stage, its operations counted by running two rows through the network.

    Matrix products alone count, as in torch's counter.

    Args:
        network: any device; its mode is left as it was.
        fields: number of fields of a row.
        dense: floats of a row beside its ids.
    """
    rows = 2
    device = next(network.parameters()).device
    state: tuple[torch.Tensor, ...] = (
        torch.zeros(rows, fields, dtype=torch.int64, device=device),
        torch.zeros(rows, dense, device=device),
    )
    cards = []
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for stage in network.stage_list():
            # To the counter, fused attention on a CPU is one operation of unknown cost; the math
            # backend makes it products, which count.
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                state = stage(state)
            parameters = sum(parameter.numel() for parameter in stage.parameters())
            outputs = sum(tensor.numel() for tensor in state) // rows
            flops = counter.get_total_flops() // rows
            cards.append(
                StageCard(
                    stage.name,
                    stage.title,
                    parameters,
                    flops,
                    outputs,
                    stage.parts,
                    biases_norms=sum(parameter.numel() for parameter in biases_and_norms(stage)),
                    linear_widths=sum(sum(layer.weight.shape) for layer in linear_layers(stage)),
                )
            )
    network.train(was_training)
    return tuple(cards)


def save_weights(network: Network, path: Path) -> None:
    """Write parameters and BatchNorm statistics as safetensors."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    write_atomic(path, lambda part: save_file(tensors, part))


def load_weights(network: Network, path: Path) -> None:
    """Load weights from a safetensors file into `network`. Nothing is unpickled.

    Raises:
        BadInput: the file is no safetensors file, or names or shapes differ.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        if caused_by_system(error):
            raise
        if isinstance(error, FileNotFoundError) and path.exists():
            # safetensors reports any failure to open a file like this; opening it again raises
            # the real one.
            path.open("rb").close()
        reason = str(error).splitlines()[-1].strip()
        raise BadInput(
            f"The weights {path.name!r} do not fit the backbone they belong to: {reason}"
        ) from error


def save_backbone(
    network: Network, card: BackboneCard, preprocessing_folder: Path, folder: Path
) -> BackboneCard:
    """Store weights, preprocessing and card in `folder`, all at once.

    A folder that is there is replaced: a run that died after it had stored its backbone stores it
    again.

    Returns:
        The card with the SHA-256 of the weights and its folder.
    """
    make_folder(folder.parent)
    with staging(folder.parent) as new:
        save_weights(network, new / WEIGHTS_FILE)
        shutil.copytree(preprocessing_folder, new / "preprocessing", copy_function=shutil.copyfile)
        card = dataclasses.replace(
            card, weights_sha256=hash_file(new / WEIGHTS_FILE), folder=folder
        )
        save_card(card, new)
        publish_folder(new, folder)
    return card


def load_backbone(card: BackboneCard) -> Network:
    """Load the network of a stored backbone with its own head, in eval mode on the CPU."""
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    network = build_network(
        card.architecture,
        card.settings,
        preprocessing.field_sizes,
        card.head,
        preprocessing.n_dense,
    )
    load_weights(network, card.folder / WEIGHTS_FILE)
    return network.eval()
