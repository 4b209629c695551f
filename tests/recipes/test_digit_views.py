import keras
import numpy as np
import pytest

from keras_transfer.recipes.digit_views import DigitViews

STILL = dict.fromkeys(("rotation", "scale", "shear", "shift"), 0.0)


def views(rows=200, value=100.0, shape=(13, 13, 1), **change):
    keras.utils.set_random_seed(0)
    images = np.full((rows, *shape), value, "float32")
    images[:, 5:8, 5:8] = 200.0
    return images, np.array(DigitViews(**{**STILL, **change})(images))


def test_without_change_images_stay():
    images, found = views()
    np.testing.assert_allclose(found, images, atol=1e-3)


@pytest.mark.parametrize("change", [{"rotation": 30.0}, {"shear": 0.5}])
def test_turning_and_shearing_keep_the_centre(change):
    """A square around the centre keeps its centre of mass, and is moved for each image by itself."""
    images, found = views(value=0.0, **change)
    assert len(np.unique(found.round(2), axis=0)) > 150
    mass = found[..., 0] / found.sum((1, 2, 3))[:, None, None]
    places = np.arange(13)
    np.testing.assert_allclose((mass * places[:, None]).sum((1, 2)), 6, atol=0.05)
    np.testing.assert_allclose((mass * places).sum((1, 2)), 6, atol=0.05)
    np.testing.assert_allclose(found.sum((1, 2, 3)), images[0].sum(), rtol=0.1)


def test_scaling_multiplies_the_area():
    images, found = views(value=0.0, scale=0.3)
    area = found.sum((1, 2, 3)) / images[0].sum()
    assert 0.5 < area.min() < 0.65 and 1.6 < area.max() < 1.95  # exp(-0.6) = 0.55, exp(0.6) = 1.82


def test_shifts_are_in_pixels_along_both_axes():
    _, found = views(value=0.0, shift=2.0)
    mass = found[..., 0] / found.sum((1, 2, 3))[:, None, None]
    for axis in ((1, 2), (2, 1)):
        moved = (mass.sum(axis[1]) * np.arange(13)).sum(1) - 6
        assert -2.05 < moved.min() < -1.8 and 1.8 < moved.max() < 2.05


def test_strokes_become_thicker_and_thinner():
    images, found = views(value=0.0, strokes=0.5)
    mass = found.sum((1, 2, 3))
    still = np.isclose(mass, images[0].sum(), rtol=1e-4).mean()
    assert 0.35 < still < 0.65 and mass.max() > 1.8 * images[0].sum() and mass.min() < 0.3 * images[0].sum()


def test_colours_are_inverted_in_half_and_bent_in_each_channel():
    images, found = views(shape=(13, 13, 3), colours=True)
    inverted = found[:, 6, 6].mean(-1) < found[:, 0, 0].mean(-1)
    assert 0.35 < inverted.mean() < 0.65
    assert (np.abs(np.diff(found[:, 0, 0], axis=-1)) > 1).mean() > 0.8  # channels change by themselves


def test_a_square_is_covered_in_some():
    images, found = views(value=0.0, cutout=0.5)
    covered = np.abs(found - images).max((1, 2, 3)) > 1
    assert 0.3 < covered.mean() < 0.55  # a square may lie half outside
    (places,) = np.nonzero(np.abs(found - images)[covered][0].max((1, 2)))
    assert places.max() - places.min() < 6


def test_noise_has_a_deviation_of_its_own():
    images, found = views(noise=20.0)
    deviations = (found - images)[:, :4].std((1, 2, 3))
    assert deviations.min() < 3 and 15 < deviations.max() < 25
