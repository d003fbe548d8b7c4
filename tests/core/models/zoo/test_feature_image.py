"""The picture of the 39 features compared with NumPy, pixel by pixel, and with Keras' own
preprocessing."""

import numpy as np
import pytest
import torch

from core.errors import BadInput
from core.models.zoo.feature_image import FeatureImage
from core.models.zoo.keras_stages import import_keras
from tests.optional import skip_without

SIZES = tuple(3 + field % 5 for field in range(39))
TRAIN, SHOWN = 200, 7


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    ids = np.stack([generator.integers(0, size, count) for size in SIZES], axis=1).astype(np.int32)
    return (
        ids,
        generator.normal(size=(count, 13)).astype(np.float32),
        generator.integers(0, 2, count).astype(np.float32),
    )


def fitted(ids: np.ndarray, labels: np.ndarray) -> FeatureImage:
    image = FeatureImage(SIZES)
    image.fit(torch.from_numpy(ids), torch.from_numpy(labels))
    return image


def test_target_statistics_change_no_picture() -> None:
    ids, numerics, labels = rows(TRAIN, 0)
    image, wider = fitted(ids, labels), np.hstack([numerics, np.ones((TRAIN, 82), np.float32)])
    shown = [image(torch.from_numpy(ids), torch.from_numpy(one)) for one in (numerics, wider)]
    torch.testing.assert_close(shown[1], shown[0], rtol=0, atol=1e-4)


def colours_in_numpy(
    train: tuple[np.ndarray, ...], ids: np.ndarray, numerics: np.ndarray
) -> np.ndarray:
    """(rows, 39, 3): red, green, blue."""
    train_ids, _, labels = train
    known = ~np.isnan(labels)
    base = labels[known].mean()
    colours = np.zeros((len(ids), 39, 3))
    for row in range(len(ids)):
        for field in range(39):
            value = ids[row, field]
            same = train_ids[:, field] == value
            if field < 13:
                red = 1 / (1 + np.exp(-float(numerics[row, field])))
            else:
                red = np.log(1 + same.sum()) / np.log(1 + len(train_ids))
            rate = (labels[same & known].sum() + 20 * base) / ((same & known).sum() + 20)
            odds, base_odds = rate / (1 - rate), base / (1 - base)
            colours[row, field] = (
                red,
                odds / (odds + base_odds),
                {0: 0.0, 1: 0.5}.get(int(value), 1.0),
            )
    return colours


def picture_in_numpy(colours: np.ndarray) -> np.ndarray:
    """(rows, 32, 32, 3) from 0 to 1, drawn cell by cell."""
    picture = np.zeros((len(colours), 32, 32, 3))
    for field in range(39):
        top, left = 1 + 6 * (field // 8), 4 * (field % 8)
        picture[:, top : top + 6, left : left + 4] = colours[:, None, None, field]
    return picture


@pytest.mark.parametrize("unlabelled", [0, 50])
def test_picture_equals_numpy_and_keras_preprocessing(unlabelled: int) -> None:
    ids, numerics, labels = rows(TRAIN, seed=0)
    labels[:unlabelled] = np.nan
    shown_ids, shown_numerics, _ = rows(SHOWN, seed=1)
    image = fitted(ids, labels)
    shown = torch.from_numpy(shown_ids), torch.from_numpy(shown_numerics)
    colours = colours_in_numpy((ids, numerics, labels), shown_ids, shown_numerics)
    np.testing.assert_allclose(
        image.channels(*shown).numpy(), colours.transpose(0, 2, 1), atol=1e-6
    )
    skip_without("keras")
    applications = import_keras().applications
    for application in (applications.vgg19, applications.resnet50):
        expected = application.preprocess_input(
            picture_in_numpy(colours) * 255, data_format="channels_last"
        )
        np.testing.assert_allclose(image(*shown).numpy(), expected.transpose(0, 3, 1, 2), atol=2e-4)


def test_only_the_rows_given_to_fit_enter_and_the_order_of_rows_does_not() -> None:
    ids, _, labels = rows(TRAIN, seed=0)
    image, again = fitted(ids, labels), fitted(ids[::-1].copy(), labels[::-1].copy())
    state = {name: tensor.clone() for name, tensor in image.state_dict().items()}
    assert set(state) == {"common", "lift"}
    other_ids, other_numerics, _ = rows(SHOWN, seed=2)
    image(torch.from_numpy(other_ids), torch.from_numpy(other_numerics))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, state[name])
        assert torch.equal(image.state_dict()[name], state[name])
    changed = labels.copy()
    changed[0] = 1 - changed[0]
    assert not torch.equal(fitted(ids, changed).lift, state["lift"])


@pytest.mark.parametrize("label", [np.nan, 0.0, 1.0])
def test_labels_that_say_nothing_leave_green_at_one_half(label: float) -> None:
    ids, _, labels = rows(TRAIN, seed=0)
    image = fitted(ids, np.full_like(labels, label))
    assert (image.lift == 0.5).all() and image.common.max() > 0.5


def test_rows_of_other_fields_are_refused() -> None:
    with pytest.raises(BadInput, match="39 fields of a Criteo row; these rows have 3"):
        FeatureImage((5, 3, 7))
