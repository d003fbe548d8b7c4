"""Weights for Keras' networks: those it publishes for ImageNet, or those in a file."""

import math
import os
from pathlib import Path
from typing import Any

import torch

from core.data.paths import check_input
from core.errors import BadInput, caused_by_system
from core.models.foreign_files import probe_hdf5
from core.models.network import Network
from core.models.zoo.keras_stages import KerasStage, import_keras, keras_model

KERAS_APPLICATIONS = {
    "vgg19": ("VGG19", "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "resnet50": ("ResNet50", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
}
"""Of each architecture: its name in keras.applications, and the file that Keras looks for in its
cache."""
SUFFIXES = (".h5", ".hdf5")


def load_imagenet_weights(network: Network, architecture: str) -> None:
    """Fill the stages with Keras' ImageNet weights, from its cache or the network.

    Raises:
        BadInput: neither has them; the message says where to put the file.
    """
    application, file = KERAS_APPLICATIONS[architecture]
    try:
        model = keras_model(application, "imagenet")
    except BadInput:
        raise
    except Exception as error:
        if caused_by_system(error):
            raise
        # Keras raises a plain Exception when the network fails it.
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise BadInput(
            f"Keras could not get its ImageNet weights for {application} ({_reason(error)}). "
            f"Without a network, put the file {file} into {cache}, or start from weights in "
            "a file or from random weights."
        ) from error
    _copy_variables(network, model)


def load_weights_file(network: Network, architecture: str, path: Path) -> None:
    """Fill the stages from a Keras weights file of the network without its top.

    Only HDF5 (.weights.h5 or .h5) is read, never a pickle.

    Raises:
        BadInput: it is no such file, or a layer does not fit.
    """
    application, _ = KERAS_APPLICATIONS[architecture]
    keras = import_keras()
    import h5py

    if path.suffix not in SUFFIXES:
        raise BadInput(
            f"The weights file {path.name!r} does not end in .h5; save one by Keras' save_weights."
        )
    check_input(path, "weights file")
    probe_hdf5(path)
    if not h5py.is_hdf5(path):
        raise BadInput(
            f"The weights file {path.name!r} is not an HDF5 file; save one by Keras' save_weights."
        )
    model = keras_model(application)
    # Keras only warns about variables that the file lacks, and leaves them as they are. NaN shows
    # which ones; else random weights would pass for trained ones.
    with torch.no_grad():
        for variable in model.variables:
            variable.value.fill_(math.nan)
    try:
        with keras.device("cpu"):
            model.load_weights(path)
    except Exception as error:
        if caused_by_system(error):
            raise
        # A damaged file fails in as many ways as HDF5 has: OSError, ValueError, KeyError,
        # RuntimeError.
        raise BadInput(
            f"The weights file {path.name!r} does not fit {application} without its top"
            f" ({_reason(error)})."
        ) from error
    if absent := [
        variable.path for variable in model.variables if not variable.value.isfinite().all()
    ]:
        raise BadInput(
            f"The weights file {path.name!r} does not fit {application} without its top: it has no"
            f" usable numbers for {len(absent)} variables, {absent[0]!r} among them."
        )
    _copy_variables(network, model)


def _copy_variables(network: Network, model: Any) -> None:
    values = {variable.path: variable.value.detach() for variable in model.variables}
    for stage in network.stage_list():
        assert isinstance(stage, KerasStage)
        stage.load_variables(values)


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
