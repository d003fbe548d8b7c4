"""VGG19 and ResNet50 as stages compared with Keras' whole models, and the weights that Keras
loads."""

import functools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import BadInput
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.network import Network, State
from core.models.zoo.keras_stages import import_keras, keras_model
from core.models.zoo.keras_weights import (
    KERAS_APPLICATIONS,
    load_imagenet_weights,
    load_weights_file,
)
from tests.optional import skip_without

skip_without("keras")
h5py = pytest.importorskip("h5py")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZES = (4,) * 39
# Scalars of the networks without their top, as Keras' model.summary() states them: all, and those
# that do not train.
COUNTS = {"vgg19": (20_024_384, 0), "resnet50": (23_587_712, 53_120)}


def build(architecture: str, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return build_network(architecture, {}, SIZES, HeadSettings(output="softmax"))


@functools.cache
def untouched(architecture: str) -> Network:
    """A network for what is refused before it is changed."""
    return build(architecture)


def state_of(rows: int = 3) -> State:
    generator = np.random.default_rng(0)
    ids = torch.from_numpy(generator.integers(0, 4, (rows, 39)).astype(np.int32))
    return ids, torch.from_numpy(generator.normal(size=(rows, 13)).astype(np.float32))


def variables_of(network: Network) -> dict[str, torch.Tensor]:
    """The network's variables by Keras' path."""
    parts = [
        (name.split("."), tensor)
        for name, tensor in network.state_dict().items()
        if ".layers." in name
    ]
    return {"/".join(name[3:]): tensor for name, tensor in parts if name[0] == "stages"}


def twin(network: Network, architecture: str) -> Any:
    """Keras' own whole model with the network's variables."""
    model = keras_model(KERAS_APPLICATIONS[architecture][0])
    values = variables_of(network)
    assert set(values) == {variable.path for variable in model.variables}
    with torch.no_grad():
        for variable in model.variables:
            variable.value.copy_(values[variable.path])
    return model


@pytest.fixture(scope="module", params=COUNTS)
def built(request: pytest.FixtureRequest) -> tuple[str, Network]:
    """An architecture and its network, with statistics as if it had been trained."""
    network = build(request.param).eval()
    for stage in network.stages:
        for name, buffer in stage.named_buffers():
            if "moving" in name:
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return request.param, network


def test_stages_equal_keras_own_model_and_each_other(built: tuple[str, Network]) -> None:
    architecture, network = built
    model, state = twin(network, architecture), state_of()
    picture = network.get_submodule("stages.0.image")(*state)
    with torch.no_grad():
        expected = model(picture, training=False)
        whole = network(state)
        for depth in range(6):
            between = network.run_stages(state, 0, depth)
            torch.testing.assert_close(network(between, depth), whole, rtol=0, atol=0)
    torch.testing.assert_close(between[0], expected, rtol=1e-5, atol=1e-6)
    assert between[0].shape == (3, network.representation)
    np.testing.assert_allclose(
        model.predict(picture.numpy(), verbose=0), expected.numpy(), rtol=1e-5, atol=1e-6
    )


def test_counts_are_those_keras_documents_and_statistics_never_train(
    built: tuple[str, Network],
) -> None:
    architecture, network = built
    everything, kept = COUNTS[architecture]
    cards = describe_stages(network, 39)
    assert sum(card.parameters for card in cards) == everything - kept
    assert sum(tensor.numel() for tensor in variables_of(network).values()) == everything
    network.requires_grad_(True)
    names = {name for name, _ in network.named_parameters()}
    assert not any("moving" in name or "image" in name for name in names)
    assert cards[-1].outputs == network.representation
    # VGG19's first convolution: 27 weights a pixel and channel, two operations a multiply-add.
    first = {"vgg19": 2 * 32 * 32 * 64 * (27 + 9 * 64), "resnet50": 2 * 16 * 16 * 64 * 49 * 3}
    assert cards[0].flops == first[architecture]


def test_training_mode_moves_statistics_as_keras_does_and_reaches_every_parameter() -> None:
    network, state = build("resnet50"), state_of(4)
    model = twin(network, "resnet50")
    expected = model(network.get_submodule("stages.0.image")(*state), training=True)
    before = {path: tensor.clone() for path, tensor in variables_of(network).items()}
    network.train()
    network(state).sum().backward()
    for variable in model.non_trainable_variables:
        now = variables_of(network)[variable.path]
        torch.testing.assert_close(now, variable.value.detach(), rtol=1e-4, atol=1e-5)
        assert not torch.equal(now, before[variable.path])
        assert not now.requires_grad
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.no_grad():
        torch.testing.assert_close(
            network.run_stages(state, 0, 5)[0], expected, rtol=1e-3, atol=1e-3
        )


def test_new_weights_depend_on_torchs_seed_and_have_keras_scale() -> None:
    first, again, other = (variables_of(build("vgg19", seed)) for seed in (0, 0, 1))
    path = "block4_conv1/kernel"
    assert torch.equal(first[path], again[path]) and not torch.equal(first[path], other[path])
    bound = (6 / (9 * 256 + 9 * 512)) ** 0.5
    assert 0.999 * bound < first[path].abs().max() <= bound
    keras_own = next(one.value for one in keras_model("VGG19").variables if one.path == path)
    assert first[path].std().item() == pytest.approx(keras_own.std().item(), rel=0.01)


def test_without_keras_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(BadInput, match=r"python -m pip install -r requirements-keras\.txt"):
        build("vgg19")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """A folder with a Keras ResNet50 saved both ways Keras can, and one with a layer's values cut
    out."""
    folder = tmp_path_factory.mktemp("weights")
    model = keras_model("ResNet50")
    with torch.no_grad():
        for variable in model.non_trainable_variables:
            variable.value.uniform_(0.5, 1.5)
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "old.h5")
    shutil.copy(folder / "new.weights.h5", folder / "hole.weights.h5")
    with h5py.File(folder / "hole.weights.h5", "r+") as file:
        file["layers/batch_normalization_3/vars/0"][0] = np.nan
    (folder / "junk.h5").write_bytes(b"\x80\x04junk")
    (folder / "weights.pkl").write_bytes(b"\x80\x04.")
    yield folder, model
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["new.weights.h5", "old.h5"])
def test_weights_from_a_file_give_keras_own_outputs(files: tuple[Path, Any], name: str) -> None:
    folder, model = files
    network, state = build("resnet50").eval(), state_of()
    load_weights_file(network, "resnet50", folder / name)
    with torch.no_grad():
        expected = model(network.get_submodule("stages.0.image")(*state), training=False)
        torch.testing.assert_close(
            network.run_stages(state, 0, 5)[0], expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("architecture", "name", "sentence"),
    [
        ("vgg19", "old.h5", "does not fit VGG19 without its top .Layer count mismatch"),
        (
            "resnet50",
            "hole.weights.h5",
            "has no usable numbers for 1 variables, '.*bn/gamma' among them",
        ),
        ("resnet50", "junk.h5", "is not an HDF5 file"),
        ("resnet50", "weights.pkl", "does not end in .h5"),
        ("resnet50", "none.h5", "There is no file .* check the path of the weights file"),
    ],
)
def test_a_wrong_weights_file_is_refused(
    files: tuple[Path, Any], architecture: str, name: str, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_weights_file(untouched(architecture), architecture, files[0] / name)


def test_imagenet_weights_come_by_keras_own_loader(
    files: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_keras()
    from keras.src.utils import file_utils

    asked = []

    def get_file(name: str, origin: str, **_: Any) -> str:
        asked.append((name, origin))
        return str(files[0] / "old.h5")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    network = build("resnet50")
    load_imagenet_weights(network, "resnet50")
    assert asked[0][0] == KERAS_APPLICATIONS["resnet50"][1] and asked[0][1].startswith("https://")
    for variable in files[1].variables:
        assert torch.equal(variables_of(network)[variable.path], variable.value)


def test_imagenet_weights_that_cannot_be_had_say_which_file_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_keras()
    from keras.src.utils import file_utils

    def refuse(*_: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    weights = KERAS_APPLICATIONS["vgg19"][1]
    with pytest.raises(
        BadInput,
        match=f"no network here.*put the file {weights} into {tmp_path}/models",
    ):
        load_imagenet_weights(untouched("vgg19"), "vgg19")
