import numpy as np
import pytest
from scipy import optimize, stats

from keras_transfer import metrics


def data(rows, dim, signal=1.0, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return signal * rng.normal(size=(classes, dim))[labels] + rng.normal(size=(rows, dim)), labels


@pytest.mark.parametrize(("rows", "dim"), [(30, 4), (12, 20)])
def test_is_the_maximum_of_the_evidence(rows, dim):
    """The evidence is a normal density of the labels; here its two precisions are found by a search."""
    x, labels = data(rows, dim, 0.3)
    found = []
    for label in range(3):
        y = (labels == label).astype(float)

        def negative(logs, y=y):
            covariance = x @ x.T * np.exp(-logs[0]) + np.eye(rows) * np.exp(-logs[1])
            return -stats.multivariate_normal(np.zeros(rows), covariance).logpdf(y)

        starts = [(a, b) for a in (0.0, 4.0, 8.0) for b in (1.0, 3.0)]
        found.append(min(optimize.minimize(negative, start, method="Nelder-Mead").fun for start in starts))
    np.testing.assert_allclose(metrics.log_me(x, labels), -np.mean(found) / rows, atol=1e-5)


def test_ranks_features_by_what_they_say_of_the_labels():
    scores = [metrics.log_me(*data(60, 10, signal)) for signal in (0.0, 0.5, 1.0, 2.0)]
    assert scores == sorted(scores) and scores[-1] > scores[0] + 0.5


def test_scale_and_rotation_of_features_and_names_of_labels_do_not_matter():
    x, labels = data(30, 5)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    score = metrics.log_me(x, labels)
    np.testing.assert_allclose(metrics.log_me(1e3 * x @ turn, np.array(["b", "c", "a"])[labels]), score, atol=1e-6)


def test_features_that_say_nothing_leave_noise_alone():
    """Without features the best precision is that of the labels' mean square, a third: -(log(2 pi / 3) + 1) / 2."""
    np.testing.assert_allclose(metrics.log_me(np.zeros((30, 4)), np.arange(30) % 3), -(np.log(2 * np.pi / 3) + 1) / 2)


def test_is_finite_where_features_are_the_labels():
    labels = np.arange(30) % 3
    assert np.isfinite(metrics.log_me(np.eye(3)[labels], labels))


@pytest.mark.parametrize("metric", [metrics.log_me, metrics.h_score, metrics.leep])
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.full((4, 2), np.nan), [0, 0, 1, 1], "Expected finite values in `(features|probabilities)`"),
        (np.zeros((1, 2)), [0], "of at least 2 rows"),
        (np.zeros((4, 2)), [0, 1, 0], r"Expected `labels` of shape \(4,\); received \(3,\)"),
        (np.zeros((4, 2)), [5, 5, 5, 5], r"two classes; received \[5\] alone"),
    ],
)
def test_bad_input_is_refused(metric, features, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(features, labels)
