import numpy as np
from sklearn.covariance import LedoitWolf

from keras_transfer import metrics


def data(rows, dim, signal, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rows) % 3)
    return signal * rng.normal(size=(3, dim))[labels] + rng.normal(size=(rows, dim)), labels


def test_is_the_trace_of_explicit_covariances():
    x, labels = data(25, 40, 1.0)
    fitted = LedoitWolf().fit(x)
    means = np.array([x[labels == label].mean(0) for label in labels])
    between = (means - x.mean(0)).T @ (means - x.mean(0)) / 25
    expected = (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ between)
    np.testing.assert_allclose(metrics.h_score(x, labels), expected)


def test_with_many_rows_it_is_the_share_between_classes():
    """In one dimension B / C is the correlation ratio: three classes at -3, 0 and 3 have variance 6, the noise 1."""
    labels = np.arange(30_000) % 3
    x = 3.0 * (labels - 1) + np.random.default_rng(0).normal(size=30_000)
    np.testing.assert_allclose(metrics.h_score(x[:, None], labels), 6 / 7, atol=0.01)


def test_ranges_from_zero_to_the_classes_but_one():
    labels = np.arange(3000) % 3
    np.testing.assert_allclose(metrics.h_score(np.eye(3)[labels], labels), 2.0, atol=0.01)
    assert metrics.h_score(np.ones((30, 4)), labels[:30]) == 0.0
    assert metrics.h_score(*data(3000, 5, 0.0)) < 0.02
    constant, labels = data(3000, 5, 1.0)
    constant[:, 2] = 7.0
    assert 0 < metrics.h_score(constant, labels) < 2
