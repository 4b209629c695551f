import numpy as np
import pytest
from scipy.linalg import sqrtm

import keras_transfer as kt


def rows(n, seed, mix):
    return np.random.default_rng(seed).normal(size=(n, 4)) @ mix


def test_the_source_has_the_covariance_of_the_target():
    rng = np.random.default_rng(2)
    source, target = rows(4000, 0, rng.normal(size=(4, 4))), rows(5000, 1, rng.normal(size=(4, 4)))
    aligned = kt.models.align_covariances(source, target, regularization=1e-6)
    assert aligned.dtype == np.float32
    np.testing.assert_allclose(np.cov(aligned, rowvar=False), np.cov(target, rowvar=False), rtol=1e-2, atol=1e-2)


def test_by_the_square_roots_of_scipy():
    source, target = rows(9, 0, np.eye(4)), rows(12, 1, np.diag([1, 2, 3, 4]))
    first, second = (np.cov(x, rowvar=False) + np.eye(4) for x in (source, target))
    expected = source @ np.linalg.inv(sqrtm(first)) @ sqrtm(second)
    np.testing.assert_allclose(kt.models.align_covariances(source, target), expected.real, rtol=1e-4, atol=1e-5)


def test_equal_domains_stay():
    source = rows(3, 0, np.eye(4))  # fewer rows than dimensions
    np.testing.assert_allclose(kt.models.align_covariances(source, source), source, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "source, target, arguments, message",
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), {}, "of the same dim and at least 2 rows"),
        (np.zeros((1, 2)), np.zeros((4, 2)), {}, "of the same dim and at least 2 rows"),
        (np.full((4, 2), np.nan), np.zeros((4, 2)), {}, "finite values"),
        (np.zeros((4, 2)), np.zeros((4, 2)), {"regularization": 0}, "`regularization`"),
    ],
)
def test_what_are_no_features(source, target, arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.models.align_covariances(source, target, **arguments)
