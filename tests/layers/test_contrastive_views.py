import colorsys

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.layers import contrastive_views

WHOLE = {"scale": (1.0, 1.0), "flip": False}


def hsv(images):
    """Hue in turns, saturation and value of the first pixel of each image, by Python's own `colorsys`."""
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in np.asarray(images)[:, 0, 0] / 255]).T


def plain(colour, batch=600):
    return np.tile(np.array(colour, "float32"), (batch, 4, 4, 1))


@pytest.mark.parametrize("strength", [0.5, 0.25])
def test_colours_change_within_the_papers_ranges_for_eight_of_ten_images(strength):
    """Saturation and hue keep the value, by which brightness, the first to change, can be told."""
    views = np.array(contrastive_views(4, strength=strength, seed=0, **WHOLE)(plain((140, 110, 110))))
    grey = np.ptp(views[:, 0, 0], axis=-1) < 0.01
    assert abs(grey.mean() - 0.2) < 0.05  # 3 standard deviations of 600 draws
    hue, saturation, value = hsv(views[~grey])
    same = np.abs(views[~grey][:, 0, 0] - [140, 110, 110]).max(-1) < 0.01
    assert abs(same.mean() - 0.2) < 0.055
    hue, saturation, value = hue[~same], saturation[~same], 255 * value[~same]
    most = 0.8 * strength
    brighter = (value - 140) / 255
    assert -most < brighter.min() < -0.95 * most and 0.95 * most < brighter.max() < most
    more = saturation / (30 / value)  # brightness leaves the difference of 30 between the colours
    more = more[value < 250]  # where nothing was cut off
    assert 1 - most < more.min() < 1 - 0.9 * most and 1 + 0.9 * most < more.max() < 1 + most
    turned = (hue + 0.5) % 1 - 0.5
    assert -0.201 * strength < turned.min() < -0.19 * strength and 0.19 * strength < turned.max() < 0.201 * strength
    for first, second in ((brighter, turned), (brighter[value < 250], more), (turned[value < 250], more)):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


def test_contrast_grows_and_shrinks():
    """Keras's RandomContrast(0.4) only grows it. Both halves of a grey picture move alike but for contrast."""
    halves = plain((100, 100, 100))
    halves[:, :, 2:] = 150
    views = np.array(contrastive_views(40, seed=0, **WHOLE)(halves))
    high, low = views.max((1, 2, 3)), views.min((1, 2, 3))
    contrast = ((high - low) / 50)[(high < 254) & (low > 1)]
    assert 0.6 - 1e-3 < contrast.min() < 0.64 and 1.36 < contrast.max() < 1.4 + 1e-3


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="streams run layers in TensorFlow")
def test_each_image_of_a_batch_has_draws_of_its_own_in_a_stream():
    image = np.random.default_rng(0).integers(0, 256, (1, 12, 10, 3)).astype("uint8")
    x = next(iter(kt.streams.views(np.repeat(image, 64, 0), contrastive_views((8, 6), seed=0), 64, seed=0)))
    views = np.concatenate([x["view_1"], x["view_2"]])
    assert views.shape == (128, 8, 6, 3) and views.min() >= 0 and views.max() <= 255
    assert len(np.unique(views.reshape(128, -1), axis=0)) == 128


def test_mirroring_and_greyness_are_drawn_apart():
    """One seed for all layers would leave none grey that is not mirrored."""
    sides = plain((200, 50, 50), 200)
    sides[:, :, 2:] = (50, 50, 200)
    augment = contrastive_views(4, scale=(1.0, 1.0), strength=1e-3, seed=0)  # colours stay, but for greyness
    views = np.array(augment(sides))
    grey = np.ptp(views, axis=-1).max((1, 2)) < 0.01
    mirrored = views[:, 0, 0, 0] < views[:, 0, -1, 0]  # red, which is brighter as a grey too, was on the left
    assert 60 < mirrored.sum() < 140
    both = {(bool(g), bool(m)) for g, m in zip(grey, mirrored)}
    assert both == {(False, False), (False, True), (True, False), (True, True)}


def test_of_grey_images_black_stays_and_white_dims_to_a_quarter():
    black, white = (np.full((500, 3, 3, 1), value, "uint8") for value in (0, 255))
    augment = contrastive_views(2, channels=1, seed=0)
    assert not np.array(augment(black)).any()
    views = np.array(augment(white)) / 255
    assert views.shape == (500, 2, 2, 1)
    assert 0.2499 < views.min() < 0.26 and 0.99 < views.max() <= 1.0001


def test_outside_of_training_the_whole_image_is_resized():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 11, 3)).astype("uint8")
    expected = kt.layers.RandomResizedCrop(5, 6)(images, training=False)
    np.testing.assert_array_equal(contrastive_views((5, 6))(images, training=False), expected)


def test_seed_and_config():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)).astype("uint8")
    first, second, other = (contrastive_views(4, seed=seed) for seed in (3, 3, 4))
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(first))
    expected = np.array(first(images))
    np.testing.assert_array_equal(second(images), expected)
    np.testing.assert_array_equal(loaded(images), expected)
    assert np.abs(np.array(other(images)) - expected).max() > 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"image_size": (8, 8, 3)}, r"`image_size` to be a side or a pair \(height, width\); received \(8, 8, 3\)"),
        ({"image_size": 8.0}, "`image_size` to be an int of at least 1; received 8.0"),
        ({"image_size": 8, "channels": 4}, "`channels` to be 1, grey, or 3, RGB; received 4"),
        ({"image_size": 8, "strength": 1.5}, "`strength` to be a finite number .*; received 1.5"),
        ({"image_size": 8, "scale": (0.5, 1.5)}, "`scale` to be a pair"),
        ({"image_size": 8, "flip": "no"}, "`flip` to be True or False"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        contrastive_views(**arguments)
