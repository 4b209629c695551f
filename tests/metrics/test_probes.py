import numpy as np

from keras_transfer import metrics


def blobs(rows, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=rows)
    return np.array([[4, 0], [0, 4], [-4, -4]])[labels] + rng.normal(size=(rows, 2)), labels


def test_probes_tell_blobs_apart_and_noise_not():
    train, test = blobs(300, 0), blobs(300, 1)
    assert metrics.knn_accuracy(*train, *test) > 0.95
    assert metrics.linear_accuracy(*train, *test) > 0.95
    noise = np.random.default_rng(2).normal(size=(300, 2))
    assert metrics.knn_accuracy(noise, train[1], *test) < 0.6


def test_neighbours_are_by_cosine_and_at_most_all_rows():
    features, labels = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    assert metrics.knn_accuracy(features, labels, np.array([[100.0, 1.0], [0.01, 1.0]]), labels, k=1) == 1.0
    assert metrics.knn_accuracy(features, labels, features, labels, k=20) == 0.5  # both vote: a tie, the first wins


def test_probe_stops_early_without_a_warning():
    train = blobs(300, 0)
    assert metrics.linear_probe(*train, steps=1).score(*train) > 0.5
