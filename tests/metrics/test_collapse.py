import numpy as np

from keras_transfer import metrics


def embeddings(rows=400, dim=16, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim))


def test_std():
    assert metrics.embedding_std(np.ones((5, 3))) == 0.0
    np.testing.assert_allclose(metrics.embedding_std(embeddings(4000)), 1.0, atol=0.02)
    # Half of the rows at each of two opposite points: every coordinate is +-1 / sqrt(4).
    np.testing.assert_allclose(metrics.embedding_std(np.array([[1.0] * 4, [-1.0] * 4])), 1.0)


def test_effective_rank():
    assert metrics.effective_rank(np.ones((5, 3))) == 0.0
    line = np.outer(np.linspace(-1, 1, 9), np.arange(1, 6))
    np.testing.assert_allclose(metrics.effective_rank(line), 1.0, atol=1e-5)
    axes = np.concatenate([np.eye(4), -np.eye(4)])  # four equal singular values
    np.testing.assert_allclose(metrics.effective_rank(axes), 4.0)


def test_alignment():
    x = embeddings()
    np.testing.assert_allclose(metrics.alignment(x, 3 * x), 0.0, atol=1e-12)
    np.testing.assert_allclose(metrics.alignment(x, -x), 4.0)


def test_uniformity():
    assert metrics.uniformity(np.ones((5, 3))) == 0.0
    np.testing.assert_allclose(metrics.uniformity(np.array([[1.0, 0], [-1.0, 0]])), -8.0)  # one pair, distance 2
    assert metrics.uniformity(embeddings(dim=64)) < -3.7
