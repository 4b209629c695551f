import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.layers import RandomGamma


def drawn(batch=2000, **settings):
    """Power and gain that each image got, read off two pixels of known shade."""
    images = np.repeat(np.array([0.0, 25.5, 255.0], "float32").reshape((1, 1, 3, 1)), batch, 0)
    black, dark, white = np.array(RandomGamma(seed=0, **settings)(images))[:, 0, :, 0].T
    assert not black.any()
    return -np.log10(dark / white), white / 255


def test_draws_from_the_ranges_for_each_image():
    gamma, gain = drawn(gamma=(0.5, 2.0), gain=(0.3, 0.9))
    assert 0.499 < gamma.min() < 0.51 and 1.96 < gamma.max() < 2.01
    assert abs(np.log(gamma).mean()) < 0.05  # a power and its inverse are as likely
    assert 0.2999 < gain.min() < 0.31 and 0.89 < gain.max() < 0.9001
    assert abs(np.corrcoef(np.log(gamma), gain)[0, 1]) < 0.1


def test_unchanged_outside_of_training_and_within_the_range_of_values():
    images = np.random.default_rng(0).uniform(0, 1, (4, 5, 6, 3)).astype("float32")
    layer = RandomGamma(value_range=(0, 1), seed=0)
    np.testing.assert_array_equal(layer(images, training=False), images)
    assert np.array(layer(images)).min() >= 0 and np.array(layer(images)).max() <= 1
    assert np.isfinite(np.array(layer(3 * images - 1))).all()


def test_contract():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1)).astype("uint8")
    kt.testing.check_layer(RandomGamma((2.0, 2.0), (0.5, 0.5)), images)  # no chance
    expected = 127.5 * (images / 255.0) ** 2
    np.testing.assert_allclose(RandomGamma((2.0, 2.0), (0.5, 0.5))(images), expected, rtol=1e-5, atol=1e-3)
    config = RandomGamma((0.5, 1.5), (0.2, 0.3), (0, 1), seed=4).get_config()
    assert RandomGamma.from_config(config).get_config() == config


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"gamma": (0.0, 2.0)}, "`gamma` to be a pair .* 0 < least"),
        ({"gain": (0.9, 0.3)}, "`gain` to be a pair .* 0 < least"),
        ({"value_range": (-1, 1)}, "`value_range` to be a pair .0, high.; received .-1, 1."),
    ],
)
def test_bad_ranges(settings, message):
    with pytest.raises(ValueError, match=message):
        RandomGamma(**settings)
