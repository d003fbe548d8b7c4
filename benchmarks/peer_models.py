"""The peers' own networks, one function each.

The module runs in the peers' environment and never imports core.

The packages' model classes are used as published: their forward code is theirs. What their packages
leave out is said where it is put back.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Weights = dict[str, np.ndarray]
"""Our network's parameters by name, as Network.state_dict calls them."""

NUMERICS = 13


@dataclass(frozen=True)
class Peer:
    """A peer's network.

    Attributes:
        forward: (ids (rows, fields), numerics (rows, 13)) to click probabilities (rows,).
        copy: gives the network the weights of ours.
    """

    network: nn.Module
    forward: Callable[[Tensor, Tensor], Tensor]
    copy: Callable[[Weights], None]


def copy_parameter(parameter: Tensor, values: np.ndarray) -> None:
    """Overwrites a parameter, whose shape must be that of `values`."""
    if tuple(parameter.shape) != values.shape:
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} cannot take values of shape"
            f" {values.shape}"
        )
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def copy_embedding_tables(
    tables: Mapping[str, nn.Module] | nn.ModuleDict, values: np.ndarray, sizes: Sequence[int]
) -> None:
    """Cut our single table of all fields into the peer's tables, one per field."""
    starts = np.cumsum([0, *sizes])
    for field in range(len(sizes)):
        table: Any = tables[f"F{field}"]
        copy_parameter(table.weight, values[starts[field] : starts[field + 1]])


def copy_linear_layers(layers: Sequence[nn.Linear], weights: Weights, names: Sequence[str]) -> None:
    """Copy linear layers, ours by name; inputs that only the peer's layer has get weight 0."""
    for layer, name in zip(layers, names, strict=True):
        values = weights[f"{name}.weight"]
        copy_parameter(
            layer.weight, np.pad(values, ((0, 0), (0, layer.in_features - values.shape[1])))
        )
        copy_parameter(layer.bias, weights[f"{name}.bias"])


def linears(module: nn.Module) -> list[nn.Linear]:
    """The linear layers inside `module`, in order."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def deepctr(model: str, settings: dict[str, Any], sizes: Sequence[int], seed: int) -> Peer:
    """Return a network of DeepCTR-Torch.

    Args:
        model: "dnn" (its Wide & Deep without a wide part), "deepfm" or "autoint" (with DNN).
    """
    # The package asks the network for its newest version when imported; an empty module in this
    # place spares that.
    sys.modules["requests"] = ModuleType("requests")
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import WDL, AutoInt, DeepFM

    sparse = [
        SparseFeat(f"F{field}", size, settings["embedding"]) for field, size in enumerate(sizes)
    ]
    columns = [*sparse, *[DenseFeat(f"I{number}") for number in range(NUMERICS)]]
    shared = {
        "dnn_hidden_units": tuple(settings["widths"]),
        "dnn_dropout": settings["dropout"],
        "l2_reg_embedding": 0,
        "init_std": settings["embedding_std"],
        "seed": seed,
    }
    if model == "dnn":
        network = WDL([], columns, l2_reg_linear=0, **shared)
    elif model == "deepfm":
        network = DeepFM(sparse, columns, l2_reg_linear=0, **shared)
    else:
        network = AutoInt(
            [], columns, att_layer_num=settings["layers"], att_head_num=settings["heads"], **shared
        )

    def forward(ids: Tensor, numerics: Tensor) -> Tensor:
        # One float matrix is the input the package wants; ids below 2^24 survive it.
        return network(torch.cat([ids.float(), numerics], dim=1))[:, 0]

    def copy(weights: Weights) -> None:
        copy_embedding_tables(network.embedding_dict, weights["stages.0.table.weight"], sizes)
        depth = range(1, len(settings["widths"]) + 1)
        block = "stages.{}.towers.1.0" if model == "autoint" else "stages.{}.layers.0"
        copy_linear_layers(network.dnn.linears, weights, [block.format(height) for height in depth])
        head = weights["head.layers.0.weight"]
        copy_parameter(network.out.bias, weights["head.layers.0.bias"])
        if model == "deepfm":
            machine = settings["embedding"] + 1
            if not np.all(head[:, :machine] == 1):
                raise ValueError(
                    "the package adds the machine's parts up; our head must weigh them with one"
                )
            copy_embedding_tables(
                network.linear_model.embedding_dict, weights["stages.0.first_order.weight"], sizes
            )
            head = head[:, machine:]
        copy_parameter(network.dnn_linear.weight, head)
        if model == "autoint":
            for height, layer in enumerate(network.int_layers, start=1):
                ours = f"stages.{height}.towers.0"
                named = {
                    "query": "W_Query",
                    "key": "W_key",
                    "value": "W_Value",
                    "residual": "W_Res",
                }
                for name, theirs in named.items():
                    copy_parameter(getattr(layer, theirs), weights[f"{ours}.{name}.weight"].T)

    return Peer(network, forward, copy)


def fuxictr(model: str, settings: dict[str, Any], sizes: Sequence[int], seed: int) -> Peer:
    """Return a network of FuxiCTR.

    The package publishes these classes for sequences of items. The last numeric is the item and
    there are no earlier ones, so the average of the earlier ones is one constant zero beside the
    inputs ours has.

    Args:
        model: "dnn" (its DCNv2 without cross layers), "dcnv2" (stacked) or "finalmlp".
    """
    from fuxictr.features import FeatureMap
    from model_zoo.LongCTR.DCNv2.DCNv2 import DCNv2
    from model_zoo.LongCTR.FinalMLP.FinalMLP import FinalMLP

    torch.manual_seed(seed)
    features = FeatureMap("parity", "")
    for field, size in enumerate(sizes):
        features.features[f"F{field}"] = {"type": "categorical", "source": "", "vocab_size": size}
    for number in range(NUMERICS):
        source = "item" if number == NUMERICS - 1 else ""
        features.features[f"I{number}"] = {"type": "numeric", "source": source, "embedding_dim": 1}
    features.labels = ["label"]
    features.default_emb_dim = settings["embedding"]
    widths = list(settings["widths"])
    shared = {
        "embedding_dim": settings["embedding"],
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "verbose": 0,
        "model_root": "",
        "metrics": ["AUC"],
    }
    if model == "finalmlp":
        towers = {f"mlp{n}_hidden_units": widths for n in (1, 2)} | {
            f"mlp{n}_dropout": settings["dropout"] for n in (1, 2)
        }
        network = FinalMLP(
            features,
            num_heads=settings["heads"],
            fs_hidden_units=[settings["gate"]],
            **towers,
            **shared,
        )
        open_gates(network)
    else:
        network = DCNv2(
            features,
            model_structure="stacked",
            num_cross_layers=settings.get("crosses", 0),
            stacked_dnn_hidden_units=widths,
            net_dropout=settings["dropout"],
            **shared,
        )
    tables = network.embedding_layer.embedding_layer.embedding_layers
    with torch.no_grad():
        for name, layer in tables.items():
            if name.startswith("F"):
                nn.init.normal_(layer.weight, std=settings["embedding_std"])
            else:
                # A numeric passes through one learnt factor, which would start at a random sign and
                # size.
                layer.weight.fill_(1)

    def forward(ids: Tensor, numerics: Tensor) -> Tensor:
        batch = {f"F{field}": ids[:, field] for field in range(len(sizes))}
        batch |= {f"I{number}": numerics[:, number] for number in range(NUMERICS - 1)}
        item = {f"I{NUMERICS - 1}": numerics[:, NUMERICS - 1]}
        return network((batch, item, torch.zeros(len(ids), 0)))["y_pred"][:, 0]

    def copy(weights: Weights) -> None:
        copy_embedding_tables(tables, weights["stages.0.table.weight"], sizes)
        for number in range(NUMERICS):
            copy_parameter(tables[f"I{number}"].weight, np.ones((1, 1), np.float32))
        (copy_finalmlp if model == "finalmlp" else copy_dcnv2)(network, weights, settings)

    return Peer(network, forward, copy)


def open_gates(network: Any) -> None:
    """Apply FinalMLP's feature gates.

    The class builds them, but the forward method of this release does not use them.
    """
    gated: list[Tensor] = []

    def before_first(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        gated[:] = network.fs_module({}, inputs[0])
        return (gated[0],)

    network.mlp1.register_forward_pre_hook(before_first)
    network.mlp2.register_forward_pre_hook(lambda module, inputs: (gated[1],))


def copy_dcnv2(network: Any, weights: Weights, settings: dict[str, Any]) -> None:
    """Cross layers, blocks and head of ours into FuxiCTR's DCNv2."""
    crosses = settings.get("crosses", 0)
    for number, layer in enumerate(network.crossnet.cross_layers, start=1):
        # The constant zero crosses nothing, so its row and column may be anything.
        copy_parameter(
            layer.weight, np.pad(weights[f"stages.{number}.linear.weight"], ((0, 1), (0, 1)))
        )
        copy_parameter(layer.bias, np.pad(weights[f"stages.{number}.linear.bias"], (0, 1)))
    blocks = [
        f"stages.{crosses + height}.layers.0" for height in range(1, len(settings["widths"]) + 1)
    ]
    copy_linear_layers(linears(network.stacked_dnn), weights, blocks)
    copy_linear_layers([network.fc], weights, ["head.layers.0"])


def copy_finalmlp(network: Any, weights: Weights, settings: dict[str, Any]) -> None:
    """Gates, streams, fusion and head of ours into FuxiCTR's FinalMLP."""
    depth, width, heads = len(settings["widths"]), settings["widths"][-1], settings["heads"]
    gates = network.fs_module
    for index, (context, gate) in enumerate(
        ((gates.fs1_ctx_bias, gates.fs1_gate), (gates.fs2_ctx_bias, gates.fs2_gate))
    ):
        ours = f"stages.1.gates.{index}"
        copy_parameter(context, weights[f"{ours}.context"][None, :])
        hidden, outer = linears(gate)
        copy_linear_layers([hidden], weights, [f"{ours}.layers.0"])
        copy_parameter(outer.weight, np.pad(weights[f"{ours}.layers.2.weight"], ((0, 1), (0, 0))))
        copy_parameter(outer.bias, np.pad(weights[f"{ours}.layers.2.bias"], (0, 1)))
    for index, stream in enumerate((network.mlp1, network.mlp2)):
        copy_linear_layers(
            linears(stream),
            weights,
            [f"stages.{2 + height}.towers.{index}.0" for height in range(depth)],
        )
    head, fusion = weights["head.layers.0.weight"], network.fusion_module
    copy_parameter(fusion.w_x.weight, head[:, :width])
    copy_parameter(fusion.w_y.weight, head[:, width : 2 * width])
    copy_parameter(fusion.w_x.bias, weights["head.layers.0.bias"])
    copy_parameter(fusion.w_y.bias, np.zeros(1, np.float32))
    # Ours weighs each head's product; the package's matrices hold that weight themselves.
    products = weights[f"stages.{2 + depth}.weight"] * head[0, 2 * width :, None, None]
    copy_parameter(fusion.w_xy, products.reshape(heads * (width // heads) ** 2, 1))


def tabular_model(settings: dict[str, Any], sizes: Sequence[int]) -> Any:
    """Return pytorch_tabular's TabularModel for our columns.

    It is set to train one epoch on the CPU and do nothing else.
    """
    from pytorch_tabular import TabularModel
    from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
    from pytorch_tabular.models import CategoryEmbeddingModelConfig

    # The package notes every model's number in the current folder.
    with tempfile.TemporaryDirectory() as aside, contextlib.chdir(aside):
        model = TabularModel(
            data_config=DataConfig(
                target=["label"],
                categorical_cols=[f"F{field}" for field in range(len(sizes))],
                continuous_cols=[f"I{number}" for number in range(NUMERICS)],
                pin_memory=False,
            ),
            model_config=CategoryEmbeddingModelConfig(
                task="classification",
                layers="-".join(map(str, settings["widths"])),
                dropout=settings["dropout"],
                use_batch_norm=settings["batch_norm"],
                embedding_dims=[[size, settings["embedding"]] for size in sizes],
                batch_norm_continuous_input=False,
            ),
            optimizer_config=OptimizerConfig(),
            trainer_config=TrainerConfig(
                max_epochs=1,
                accelerator="cpu",
                early_stopping=None,
                checkpoints=None,
                load_best=False,
                progress_bar="none",
                trainer_kwargs={
                    "limit_val_batches": 0,
                    "num_sanity_val_steps": 0,
                    "enable_model_summary": False,
                },
            ),
            verbose=False,
            suppress_lightning_logger=True,
        )
    # None would be Lightning's own logger, which writes files into the current folder.
    model.logger = False
    return model


def pytorch_tabular(model: str, settings: dict[str, Any], sizes: Sequence[int], seed: int) -> Peer:
    """Return pytorch_tabular's CategoryEmbeddingModel; "dnn" only. It has one output per class."""
    if model != "dnn":
        raise ValueError(f"pytorch_tabular is compared as a dnn, not as {model!r}")
    from omegaconf import OmegaConf
    from pytorch_tabular.config import InferredConfig

    torch.manual_seed(seed)
    whole = tabular_model(settings, sizes)
    found = InferredConfig(
        categorical_dim=len(sizes),
        continuous_dim=NUMERICS,
        output_dim=2,
        output_cardinality=[2],
        categorical_cardinality=list(sizes),
        embedding_dims=[[size, settings["embedding"]] for size in sizes],
    )
    network = whole.model_callable(whole.config, inferred_config=OmegaConf.structured(found))
    tables = network.embedding_layer.cat_embedding_layers
    for table in tables:
        nn.init.normal_(table.weight, std=settings["embedding_std"])

    def forward(ids: Tensor, numerics: Tensor) -> Tensor:
        logits = network({"categorical": ids, "continuous": numerics})["logits"]
        return torch.softmax(logits, dim=1)[:, 1]

    def copy(weights: Weights) -> None:
        copy_embedding_tables(
            {f"F{field}": table for field, table in enumerate(tables)},
            weights["stages.0.table.weight"],
            sizes,
        )
        names = [f"stages.{height}.layers.0" for height in range(1, len(settings["widths"]) + 1)]
        # The package puts the numerics first, ours last; its second class against a first of zeros
        # is our logit.
        turned = {f"{names[0]}.weight": np.roll(weights[f"{names[0]}.weight"], NUMERICS, axis=1)}
        copy_linear_layers(linears(network.backbone), weights | turned, names)
        (head,) = linears(network.head)
        copy_parameter(head.weight, np.pad(weights["head.layers.0.weight"], ((1, 0), (0, 0))))
        copy_parameter(head.bias, np.pad(weights["head.layers.0.bias"], (1, 0)))

    return Peer(network, forward, copy)


PEERS: dict[str, Callable[[str, dict[str, Any], Sequence[int], int], Peer]] = {
    "deepctr-torch": deepctr,
    "fuxictr": fuxictr,
    "pytorch-tabular": pytorch_tabular,
}
