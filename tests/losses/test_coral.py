import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from tests.gradients import gradient


def features(rows, scale=1.0, dim=5, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(rows, dim)) + 2.0).astype("float32")


def coral_by_hand(source, target):
    return np.sum((np.cov(source, rowvar=False) - np.cov(target, rowvar=False)) ** 2)


@pytest.mark.parametrize("rows", [(8, 8), (7, 30), (2, 3)])
def test_against_numpy(rows):
    source, target = features(rows[0]), features(rows[1], 2.0, seed=1)
    expected = coral_by_hand(source, target)
    np.testing.assert_allclose(kt.losses.coral(source, target), expected / (4 * 5**2), rtol=1e-4)
    np.testing.assert_allclose(kt.losses.coral(source, target, normalize=False), expected, rtol=1e-4)


def test_covariance_of_two_points():
    """Points (0, 0), (2, 0) have the covariance [[2, 0], [0, 0]], points (0, 0), (0, 4) have [[0, 0], [0, 8]]."""
    source, target = np.float32([[0, 0], [2, 0]]), np.float32([[0, 0], [0, 4]])
    np.testing.assert_allclose(kt.losses.coral(source, target, normalize=False), 2**2 + 8**2)
    np.testing.assert_allclose(kt.losses.coral(source, target), (2**2 + 8**2) / 16)


def test_zero_where_covariances_are_equal():
    x = features(9)
    assert ops.convert_to_numpy(kt.losses.coral(x, x)) == 0.0
    np.testing.assert_allclose(kt.losses.coral(x, x[::-1] + 3.0), 0.0, atol=1e-9)  # neither order nor mean matters


@pytest.mark.parametrize("normalize", [True, False])
def test_contract(normalize):
    def function(source, target):
        return kt.losses.coral(source, target, normalize)

    kt.testing.check_loss(function, kt.losses.CORAL(normalize), features(8), features(12, 2.0, seed=1))


def test_steps_along_the_gradient_align_the_covariances():
    source, target = features(16), features(24, 2.0, seed=1)
    distances = [coral_by_hand(source, target)]
    for _ in range(50):
        target = target - 0.05 * gradient(lambda t: kt.losses.coral(source, t, normalize=False), target)
        distances.append(coral_by_hand(source, target))
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.1 * distances[0]
