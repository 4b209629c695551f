import numpy as np
import pytest

import keras_transfer as kt


def views(rows=7, dim=3, seed=0):
    return 0.5 * np.random.default_rng(seed).normal(size=(2, rows, dim)).astype("float32")


def test_against_numpy():
    first, second = np.float64(views())
    covariances = [np.cov(view.T) for view in (first, second)]  # divided by rows - 1
    variance = np.mean([np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4)).mean() for c in covariances])
    off = [sum(c[d, e] ** 2 for d in range(3) for e in range(3) if d != e) / 3 for c in covariances]
    measured = kt.losses.vicreg(*views())
    np.testing.assert_allclose(measured, [np.mean((first - second) ** 2), variance, sum(off)], rtol=1e-4)


def test_collapsed_views_cost_variance_alone():
    x = np.ones((5, 3), "float32")
    np.testing.assert_allclose(kt.losses.vicreg(x, x), [0.0, 0.99, 0.0], atol=1e-6)  # 1 - sqrt(epsilon)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_contract(part):
    kt.testing.check_loss(lambda a, b: kt.losses.vicreg(a, b)[part], None, *views())
