import numpy as np
import pytest
import scipy.special
import scipy.stats

import keras_transfer as kt

SCORES = (
    kt.metrics.information,
    kt.metrics.prediction_entropy,
    kt.metrics.nuclear_norm,
    kt.metrics.neighborhood_density,
)


def logits(rows=30, classes=5):
    return 2 * np.random.default_rng(0).normal(size=(rows, classes))


def test_against_scipy():
    x = logits()
    p = scipy.special.softmax(x, axis=1)
    conditional = scipy.stats.entropy(p, axis=1).mean()
    np.testing.assert_allclose(kt.metrics.prediction_entropy(x), conditional, rtol=1e-5)
    np.testing.assert_allclose(kt.metrics.information(x), scipy.stats.entropy(p.mean(0)) - conditional, rtol=1e-5)
    np.testing.assert_allclose(kt.metrics.nuclear_norm(x), np.linalg.norm(p, "nuc") / np.sqrt(5 * 30), rtol=1e-5)


def test_density_by_loops():
    x = logits(7, 3)
    p = scipy.special.softmax(x, axis=1)
    entropies = []
    for i in range(7):
        alike = [p[i] @ p[j] / np.linalg.norm(p[i]) / np.linalg.norm(p[j]) / 0.05 for j in range(7) if j != i]
        entropies.append(scipy.stats.entropy(scipy.special.softmax(alike)))
    np.testing.assert_allclose(kt.metrics.neighborhood_density(x), np.mean(entropies), rtol=1e-5)


def test_the_range_of_each():
    sure = 60 * np.eye(4)[np.arange(20) % 4]
    np.testing.assert_allclose(kt.metrics.information(sure), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(kt.metrics.prediction_entropy(sure), 0.0, atol=1e-6)
    np.testing.assert_allclose(kt.metrics.nuclear_norm(sure), 1.0, rtol=1e-6)
    np.testing.assert_allclose(kt.metrics.neighborhood_density(sure), np.log(4), rtol=1e-3)  # the 4 others of its class
    wavering = np.zeros((20, 4))
    np.testing.assert_allclose(kt.metrics.prediction_entropy(wavering), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(kt.metrics.information(wavering), 0.0, atol=1e-6)
    np.testing.assert_allclose(kt.metrics.neighborhood_density(wavering), np.log(19), rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("x", [np.zeros(4), np.zeros((0, 3)), np.full((4, 3), np.nan)])
def test_what_are_no_logits(score, x):
    with pytest.raises(ValueError, match="Expected finite logits"):
        score(x)


def test_one_row_has_no_neighbours():
    with pytest.raises(ValueError, match="at least 2 rows"):
        kt.metrics.neighborhood_density(np.zeros((1, 3)))
