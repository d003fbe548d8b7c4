"""Our linear layer and embedding compared with torch's: outputs, gradients and exports."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from core.models import layers as layers_module
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.layers import (
    ONEDNN_MIN_MULTIPLICATIONS,
    EmbeddingTable,
    Linear,
    uses_onednn,
    uses_padding,
)

INPUTS, OUTPUTS = 301, 96


def layers(bias: bool = True) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, plain = (
        Linear(INPUTS, OUTPUTS, bias=bias),
        nn.Linear(INPUTS, OUTPUTS, bias=bias, dtype=torch.float64),
    )
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def rows_of(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, INPUTS, requires_grad=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(400,), (40, 10)])
def test_outputs_and_gradients_equal_torchs_layer_in_double_precision(
    shape: tuple[int, ...], bias: bool
) -> None:
    ours, plain = layers(bias)
    x = rows_of(*shape)
    assert uses_onednn(x, ours.weight)
    exact = x.detach().double().requires_grad_()
    weights = torch.linspace(-1, 1, OUTPUTS)
    found, expected = ours(x), plain(exact)
    (found.sigmoid() * weights).sum().backward()
    (expected.sigmoid() * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip((x, *ours.parameters()), (exact, *plain.parameters()), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)


def test_a_gradient_that_is_a_view_of_one_row_is_taken_as_it_is_meant() -> None:
    ours, plain = layers()
    x = rows_of(400)
    ours(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(
        x.grad.double(), plain.weight.sum(0).expand(400, -1), rtol=1e-5, atol=1e-5
    )


def test_frozen_weights_get_no_gradient_and_pass_one_on() -> None:
    ours, _ = layers()
    ours.requires_grad_(False)
    x = rows_of(400)
    ours(x).sum().backward()
    assert ours.weight.grad is None
    assert x.grad is not None


def test_small_products_half_precision_and_doubles_stay_with_torch() -> None:
    weight = layers()[0].weight
    rows = ONEDNN_MIN_MULTIPLICATIONS // weight.numel()
    assert uses_onednn(torch.zeros(rows + 1, INPUTS), weight)
    assert not uses_onednn(torch.zeros(rows, INPUTS), weight)
    assert not uses_onednn(torch.zeros(2 * rows, INPUTS).double(), weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not uses_onednn(torch.zeros(2 * rows, INPUTS), weight)


def test_without_onednn_products_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "ONEDNN", None)
    ours, plain = layers()
    rows = torch.randn(400, INPUTS)
    assert not uses_onednn(rows, ours.weight)
    torch.testing.assert_close(ours(rows).double(), plain(rows.double()), rtol=1e-5, atol=1e-5)


def test_operations_are_counted_like_torchs_layer() -> None:
    ours, _ = layers()
    counts = []
    for layer in (ours, nn.Linear(INPUTS, OUTPUTS)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(torch.zeros(400, INPUTS))
        counts.append(counter.get_total_flops())
    assert counts == [2 * 400 * INPUTS * OUTPUTS] * 2


def test_a_stage_whose_two_rows_are_a_large_product_has_all_its_operations_on_its_card() -> None:
    settings = {"embedding": 4, "widths": [4096, 4096], "dropout": 0.0, "batch_norm": False}
    cards = describe_stages(build_network("dnn", settings, [10] * 39, HeadSettings()), 39)
    assert [card.flops for card in cards] == [0, 2 * (39 * 4 + 13) * 4096, 2 * 4096 * 4096]


@pytest.mark.filterwarnings("ignore")
def test_an_exported_product_is_the_exporters_own_and_gives_the_same_outputs(
    tmp_path: Path,
) -> None:
    ours, _ = layers()
    rows, file = torch.randn(400, INPUTS), str(tmp_path / "layer.onnx")
    torch.onnx.export(ours.eval(), (rows,), file, dynamo=False, input_names=["rows"])
    (outputs,) = onnxruntime.InferenceSession(file).run(None, {"rows": rows.numpy()})
    assert uses_onednn(rows, ours.weight)
    torch.testing.assert_close(torch.from_numpy(outputs), ours(rows).detach(), rtol=1e-4, atol=1e-5)


def test_a_look_up_gives_rows_and_gradients_of_torchs_embedding() -> None:
    torch.manual_seed(0)
    ours, plain = EmbeddingTable(50, 3), nn.Embedding(50, 3)
    plain.load_state_dict(ours.state_dict())
    ids = torch.randint(0, 50, (40, 6))
    weights = torch.randn(40, 6, 3)
    for layer in (ours, plain):
        (layer(ids) * weights).sum().backward()
    assert torch.equal(ours(ids), plain(ids))
    assert ours.weight.grad is not None and plain.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def test_a_look_up_that_is_to_give_a_sparse_gradient_gives_one() -> None:
    layer = EmbeddingTable(50, 3, sparse=True)
    layer(torch.tensor([[1, 1, 4]])).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.is_sparse
    assert layer.weight.grad.to_dense().sum(1).nonzero().flatten().tolist() == [1, 4]


@pytest.fixture
def padded_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products on a CPU are padded as those on a GPU are."""
    monkeypatch.setattr(layers_module, "ONEDNN", None)
    monkeypatch.setattr(layers_module, "PADDED_DEVICES", ("cpu",))


@pytest.mark.usefixtures("padded_on_cpu")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("inputs", "outputs", "shape"),
    [(301, 96, (40,)), (301, 37, (40,)), (48, 37, (4, 10)), (301, 37, (1,)), (301, 37, (0,))],
)
def test_padded_products_equal_torchs_layer_in_double_precision(
    inputs: int, outputs: int, shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    ours = Linear(inputs, outputs, bias=bias)
    plain = nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(*shape, inputs, requires_grad=True)
    assert uses_padding(x, ours.weight)
    exact = x.detach().double().requires_grad_()
    found, expected = ours(x), plain(exact)
    assert found.shape == expected.shape
    weights = torch.linspace(-1, 1, outputs)
    (found.sigmoid() * weights).sum().backward()
    (expected.sigmoid() * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip((x, *ours.parameters()), (exact, *plain.parameters()), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert mine.grad.shape == mine.shape
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("padded_on_cpu")
def test_padded_products_under_autocast_are_torchs_to_bfloat16_rounding() -> None:
    ours, exact = layers()
    plain = nn.Linear(INPUTS, OUTPUTS)
    plain.load_state_dict(ours.state_dict())
    x, errors = rows_of(40), []
    reference = exact(x.detach().double())
    reference.sigmoid().sum().backward()
    for layer in (ours, plain):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product = layer(x)
        assert product.dtype == torch.bfloat16
        layer.zero_grad()
        product.float().sigmoid().sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
        assert exact.weight.grad is not None
        errors.append(
            (
                float((product.double() - reference).norm().detach() / reference.norm().detach()),
                float(
                    (layer.weight.grad.double() - exact.weight.grad).norm()
                    / exact.weight.grad.norm()
                ),
            )
        )
    assert errors[0] == pytest.approx(errors[1], rel=0.3)
    assert max(errors[0]) < 1e-2


@pytest.mark.usefixtures("padded_on_cpu")
def test_a_gradient_of_frozen_parts_of_a_padded_product_is_not_computed() -> None:
    ours, _ = layers()
    ours.requires_grad_(False)
    x = rows_of(40)
    ours(x).sum().backward()
    assert x.grad is not None and ours.weight.grad is None and ours.bias.grad is None


@pytest.mark.usefixtures("padded_on_cpu")
def test_heads_and_even_widths_are_not_padded() -> None:
    x = torch.zeros(8, 400)
    assert not uses_padding(x, torch.zeros(1, 400))
    assert not uses_padding(x, torch.zeros(400, 400))
    assert uses_padding(x, torch.zeros(401, 400))
