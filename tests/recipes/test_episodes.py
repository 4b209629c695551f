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


def test_features_that_are_the_class_are_always_right():
    """For the nearest mean and for a regression alike; and the strongest penalty is chosen of those that are right."""
    data = np.repeat(np.eye(8, dtype="float32"), 20, axis=0), np.repeat(np.arange(8), 20)
    model = kt.models.PrototypicalNetwork(episodes.identity(8))
    (report,) = episodes.measure(model, data, [(5, 1, 5)], 20, 0, {"data": "one-hot"})
    assert report.mean == 1.0 and report.protocol == {"ways": 5, "shots": 1, "queries": 5, "data": "one-hot"}
    report = episodes.logistic_regression(data, (5, 1, 5), 1.0, 20, 0, {"data": "one-hot"})
    assert report.mean == 1.0 and report.protocol == {"ways": 5, "shots": 1, "queries": 5, "data": "one-hot"}
    assert len(report.accuracies) == 20
    assert episodes.choose_penalty(data, (5, 1, 5), 20, 0) == min(episodes.PENALTIES)


def test_a_regression_is_fitted_to_the_examples_alone():
    """Of two classes that lie apart on a line, it answers as the threshold between the two examples does."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    x = (rng.normal(0, 1, (40, 1)) + labels[:, None]).astype("float32")
    report = episodes.logistic_regression((x, labels), (2, 1, 5), 1.0, 20, 3, {})
    stream, expected = kt.streams.episodes(x, labels, 2, 1, 5, 10, batches=2, seed=3), []
    for episode, y in stream:
        (support, told), query = episode["support"], episode["query"]
        first, second = support[:, 0, 0, None], support[:, 1, 0, None]
        right = (abs(query[..., 0] - second) < abs(query[..., 0] - first)).numpy()
        answers = np.where(right, told[:, 1, None], told[:, 0, None])
        expected += list((answers == y.numpy()).mean(axis=1))
    np.testing.assert_allclose(report.accuracies, expected)


def test_episodes_take_what_the_classes_allow():
    labels = np.repeat(np.arange(4), [9, 6, 7, 8])
    assert episodes.allowed(labels, 3, 1, 5) == (3, 1, 5)
    assert episodes.allowed(labels, 5, 5, 15) == (4, 5, 1)
    assert episodes.allowed(labels, 5, 9, 15) == (4, 5, 1)
    assert episodes.allowed(labels, 20, 1, 15, turns=4) == (16, 1, 5)
