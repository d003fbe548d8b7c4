"""Networks of keras.applications, cut into stages: Keras computes, Thaw's loop trains.

With Keras 3 on its torch backend, a Keras model is a torch module whose variables are torch
parameters, the moving statistics of BatchNorm among them; and it takes `training` as an argument
instead of having modes. So a stage registers Keras' parameters under Keras' names, those that do
not train as buffers, as torch's BatchNorm has them, and passes both to Keras' `stateless_call` with
the mode of the stage. Freezing, counting, saving and resuming then work as for any stage.
"""

import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.network import Activations, Network, Stage
from core.models.zoo.feature_image import SIZE, FeatureImage
from core.program import install_command

CHUNK_ROWS = 512
"""Rows that run through a stage at once without gradients; VGG19's first layers return 256 KiB per
row."""

StageCut = tuple[str, str, str]
"""A stage: name, title, and the Keras layer that ends it."""


class KerasStage(Stage):
    """The layers of a Keras model between two cuts; the first stage also draws the picture.

    Maps ``(n_rows, channels, height, width)`` to a smaller picture of more channels, and the last
    stage to ``(n_rows, columns)``.
    """

    def __init__(self, name: str, title: str, part: Any, image: FeatureImage | None = None) -> None:
        super().__init__(name, title)
        self.image = image
        self.layers = nn.ModuleDict()
        for variable in part.variables:
            layer, own = variable.path.split("/")
            if layer not in self.layers:
                self.layers[layer] = nn.Module()
            if variable.trainable:
                self.layers[layer].register_parameter(own, _convolution_layout(variable.value))
            else:
                self.layers[layer].register_buffer(own, variable.value.detach())
        self._trained = [variable.path.split("/") for variable in part.trainable_variables]
        self._kept = [variable.path.split("/") for variable in part.non_trainable_variables]
        # In a list torch does not find the module; else its parameters would be counted and saved
        # twice.
        self._part = [part]

    def fit_preprocessing(self, state: Activations, labels: Tensor) -> None:
        """Fit the statistics of the picture."""
        if self.image is not None:
            self.image.fit(state[0], labels)

    def forward(self, state: Activations) -> Activations:
        x = state[0] if self.image is None else self.image(*state)
        if self.training or torch.is_grad_enabled():
            return (self._call(x),)
        # A trace would keep the number of chunks as it is in the example.
        if x.shape[0] <= CHUNK_ROWS:
            return (self._call(x),)
        return (torch.cat([self._call(chunk) for chunk in x.split(CHUNK_ROWS)]),)

    def _call(self, x: Tensor) -> Tensor:
        trained = [self.layers[layer].get_parameter(own) for layer, own in self._trained]
        kept = [self.layers[layer].get_buffer(own) for layer, own in self._kept]
        # Keras would move everything to the GPU wherever there is one.
        with import_keras().device(str(x.device)):
            y, moved = self._part[0].stateless_call(trained, kept, x, training=self.training)
        if self.training:
            with torch.no_grad():
                for buffer, value in zip(kept, moved, strict=True):
                    buffer.copy_(value)
        return y

    def load_variables(self, values: dict[str, Tensor]) -> None:
        """Copies the layers' variables from `values`, by Keras' path."""
        with torch.no_grad():
            for layer, own in (*self._trained, *self._kept):
                self.layers[layer].state_dict(keep_vars=True)[own].copy_(values[f"{layer}/{own}"])


def import_keras() -> Any:
    """Import Keras with its torch backend and channels first, and return the module.

    Raises:
        BadInput: Keras is not installed; the message has the command that installs it.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        raise BadInput(
            f"VGG19 and ResNet50 need Keras, which is not installed ({error}). Install it with:"
            f" {install_command('keras')}"
        ) from error
    # A keras.json in the user's home may say otherwise.
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_first")
    return keras


def keras_model(application: str, weights: str | None = None) -> Any:
    """Return a model of keras.applications without its top, for pictures of SIZE.

    Its output is averaged to one vector per row. Its variables lie on the CPU.

    Args:
        application: name of the model in keras.applications.
        weights: None for random ones, or "imagenet".
    """
    keras = import_keras()
    with keras.device("cpu"):
        build = getattr(keras.applications, application)
        return build(include_top=False, weights=weights, input_shape=(3, SIZE, SIZE), pooling="avg")


def build_stages(
    application: str, cuts: Sequence[StageCut], field_sizes: Sequence[int], head: HeadSettings
) -> Network:
    """Return the model as a network with one stage per cut.

    Its weights are random, drawn from torch's generator.
    """
    image = FeatureImage(field_sizes)
    whole = keras_model(application)
    reinitialise_kernels(whole)
    keras = import_keras()
    stages: list[KerasStage] = []
    begin = whole.input
    for name, title, layer in cuts:
        last = (name, title, layer) == cuts[-1]
        end = whole.output if last else whole.get_layer(layer).output
        with keras.device("cpu"):
            part = keras.Model(begin, end)
        stages.append(KerasStage(name, title, part, None if stages else image))
        begin = end
    return Network(stages, whole.output.shape[1], head)


@torch.no_grad()
def reinitialise_kernels(model: Any) -> None:
    """Draws every kernel anew as Keras does, Glorot uniform (Glorot and Bengio 2010).

    Keras draws from a generator of its own, which the seed of a run does not reach; this draws from
    torch's.
    """
    for variable in model.trainable_variables:
        if variable.path.endswith("/kernel"):
            nn.init.xavier_uniform_(variable.value.permute(3, 2, 0, 1))


def _convolution_layout(parameter: nn.Parameter) -> nn.Parameter:
    """Return the parameter with kernels in the memory layout of torch's convolution.

    The shape stays that of Keras. Keras permutes every kernel at every call, which on this layout
    copies nothing.
    """
    if parameter.ndim == 4:
        parameter.data = parameter.data.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0)
    return parameter
