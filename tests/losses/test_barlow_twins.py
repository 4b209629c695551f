import numpy as np
import pytest

import keras_transfer as kt


def views(rows=7, dim=3, seed=0):
    return np.random.default_rng(seed).normal(size=(2, rows, dim)).astype("float32")


def test_against_numpy():
    first, second = views()
    correlation = np.corrcoef(np.float64(first).T, np.float64(second).T)[:3, 3:]
    invariance, redundancy = kt.losses.barlow_twins(first, second)
    np.testing.assert_allclose(invariance, sum((1 - correlation[d, d]) ** 2 for d in range(3)), rtol=1e-4)
    off = sum(correlation[d, e] ** 2 for d in range(3) for e in range(3) if d != e)
    np.testing.assert_allclose(redundancy, off, rtol=1e-4)


def test_zero_for_equal_views_of_uncorrelated_features():
    x = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    for value in kt.losses.barlow_twins(x, 3 * x + 5):  # standardised: scale and shift do not count
        np.testing.assert_allclose(value, 0.0, atol=1e-8)


@pytest.mark.parametrize("part", [0, 1])
def test_contract(part):
    kt.testing.check_loss(lambda a, b: kt.losses.barlow_twins(a, b)[part], None, *views())
