import numpy as np
from keras import ops

from keras_transfer.layers.prototypes import class_means, squared_distances

rng = np.random.default_rng(0)


def test_class_means():
    features, labels = (
        rng.normal(size=(2, 7, 3)).astype("float32"),
        np.array([[0, 2, 2, 0, 0, 2, 4], [3, 1, 1, 1, 0, 0, 0]]),
    )
    means, counts = map(ops.convert_to_numpy, class_means(features, labels, 5))
    for episode in range(2):
        for k in range(5):
            mine = features[episode][labels[episode] == k]
            assert counts[episode, k] == len(mine)
            np.testing.assert_allclose(
                means[episode, k], mine.mean(0) if len(mine) else np.zeros(3), rtol=1e-5, atol=1e-6
            )


def test_squared_distances():
    x, y = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 5, 3))
    expected = ((x[:, :, None] - y[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(ops.convert_to_numpy(squared_distances(x, y)), expected, rtol=1e-4, atol=1e-5)
    assert ops.convert_to_numpy(squared_distances(100 * x, 100 * x)).min() >= 0
