import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import episodes


def test_classes_are_apart():
    """No letter of the test or of the calibration is trained on; every class has enough examples."""
    parts = episodes.load()
    seen = [{image.tobytes() for image in images} for images, _ in parts]
    assert not seen[0] & seen[2] and not seen[1] & seen[2]
    for images, labels in parts:
        assert images.shape[1:] == (28, 28, 1) and np.bincount(labels).min() >= 20
    letters = "".join(map(kt.datasets.script_letters, episodes.TEST_SCRIPTS))
    assert parts[2][1].max() + 1 == len(np.unique(parts[2][1])) == len(letters)


def test_turned():
    images, labels = episodes.turned(np.arange(8, dtype="uint8").reshape(2, 2, 2, 1), np.array([0, 1]))
    np.testing.assert_array_equal(labels, [0, 4, 1, 5, 2, 6, 3, 7])
    np.testing.assert_array_equal(images[2, ..., 0], [[1, 3], [0, 2]])  # a quarter against the clock


def test_requests_have_the_sizes_asked_for():
    data = np.arange(120, dtype="float32")[:, None], np.repeat(np.arange(6), 20)
    for (ways, shots, queries), request in zip([(3, 2, 1), (5, 1, 4)], episodes.requests(data, [(3, 2, 1), (5, 1, 4)])):
        (support, labels), query = request["support"], request["query"]
        assert support.shape == (ways * shots, 1) and query.shape == (ways * queries, 1)
        assert np.bincount(labels).tolist() == [shots] * ways
        classes = (support[:, 0] // 20).astype(int)  # one for each label
        assert len(set(zip(classes, labels))) == len(set(classes)) == ways
