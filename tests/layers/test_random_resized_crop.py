import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.layers import RandomResizedCrop


def ramps(batch=200, height=20, width=30):
    """Images whose two channels are the row and the column of each pixel."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.repeat(np.stack([rows, columns], -1)[None].astype("float32"), batch, 0)


def boxes(**settings):
    """Top and left, height and width of the part that each crop of `ramps` shows, from two pixels of its inside.

    Crops of 40 pixels enlarge, and that is exact on ramps.
    """
    x = np.array(RandomResizedCrop(40, 40, seed=0, **settings)(ramps()))
    steps = np.stack([x[:, 24, 20, 0] - x[:, 14, 20, 0], x[:, 20, 24, 1] - x[:, 20, 14, 1]], 1) / 10
    starts = np.stack([x[:, 14, 20, 0], x[:, 20, 14, 1]], 1) + 0.5 - 14.5 * steps
    return starts, steps * 40


def test_parts_lie_inside_and_have_the_area_and_ratio_asked_for():
    starts, sizes = boxes(scale=(0.1, 0.5), ratio=(0.5, 2.0))
    area = sizes.prod(1) / 600
    ratio = sizes[:, 1] / sizes[:, 0]
    assert 0.099 < area.min() < 0.12 and 0.46 < area.max() < 0.501
    assert 0.499 < ratio.min() < 0.55 and 1.85 < ratio.max() < 2.001
    np.testing.assert_allclose(np.exp(np.log(ratio).mean()), 1.0, atol=0.1)  # a ratio is as likely as its inverse
    assert (starts > -1e-3).all() and (starts + sizes < np.array([20, 30]) + 1e-3).all()
    assert (starts.min(0) < 2).all() and ((starts + sizes).max(0) > np.array([18, 28])).all()


def test_every_image_gets_a_part_of_its_own():
    starts, _ = boxes(scale=(0.1, 0.5))
    assert len(np.unique(starts.round(3), axis=0)) == 200


@pytest.mark.parametrize("size", [(20, 30), (40, 33), (7, 9)])
def test_outside_of_training_as_tensorflow_resizes(size):
    tf = pytest.importorskip("tensorflow")
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 2)).astype("uint8")
    expected = tf.image.resize(images.astype("float32"), size, antialias=True)
    np.testing.assert_allclose(RandomResizedCrop(*size)(images, training=False), expected, atol=0.02)


def test_seed():
    first, second = (np.array(RandomResizedCrop(8, 8, seed=3)(ramps(4))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    layer = RandomResizedCrop(8, 8, seed=3)
    assert np.abs(np.array(layer(ramps(4))) - np.array(layer(ramps(4)))).max() > 0


def test_contract():
    kt.testing.check_layer(RandomResizedCrop(6, 5, scale=(1.0, 1.0), ratio=(1.0, 1.0)), ramps(2, 8, 8))  # all of it
    config = RandomResizedCrop(6, 5, scale=(0.2, 0.3), ratio=(0.9, 1.5), seed=4).get_config()
    assert RandomResizedCrop.from_config(config).get_config() == config


def test_errors():
    with pytest.raises(ValueError, match=r"`scale` to be .* 0 < least <= largest <= 1; received \(0.5, 1.5\)"):
        RandomResizedCrop(8, 8, scale=(0.5, 1.5))
    with pytest.raises(ValueError, match=r"`ratio` to be .* 0 < least <= largest; received \(2.0, 1.0\)"):
        RandomResizedCrop(8, 8, ratio=(2.0, 1.0))
