import keras
import numpy as np
import pytest

import keras_transfer as kt


def buffer(**change):
    return kt.layers.ReplayBuffer(**{"capacity": 12, "shape": (2,), "classes": 3, **change})


def rows(first, count, label):
    number = np.arange(first, first + count)
    return np.stack([number, -number], 1).astype("float32"), np.full(count, label, "int32")


def test_as_many_rows_of_each_class_and_labels_stay_with_rows():
    kept = buffer()
    for label in range(3):
        kept.add(*rows(100 * label, 50, label))
    held = kept.held()
    assert np.bincount(held["y"]).tolist() == [4, 4, 4]
    np.testing.assert_array_equal(held["x"][:, 0] // 100, held["y"])
    assert len(set(held["x"][:, 0])) == 12


@pytest.mark.parametrize("keep, classes", [("balanced", 1), ("reservoir", 3)])
def test_every_row_that_was_seen_is_kept_equally_often(keep, classes):
    """Over many seeds the mean number of a kept row is the middle of all, though rows come in parts."""
    places = []
    for seed in range(300):
        kept = buffer(keep=keep, classes=classes, capacity=6, seed=seed)
        for first, count in ((0, 4), (4, 10), (14, 26)):
            kept.add(*rows(first, count, 0))
        found = kept.held()["x"][:, 0]
        assert len(set(found)) == 6
        places.append(found)
    counts = np.bincount(np.concatenate(places).astype(int), minlength=40) / 300
    expected = 6 / 40  # the standard error of each count is .021
    assert np.abs(counts - expected).max() < 0.09 and abs(np.mean(places) - 19.5) < 1.0


def test_few_rows_are_all_kept():
    kept = buffer(keep="reservoir")
    kept.add(*rows(0, 5, 1))
    kept.add(*rows(5, 5, 2))
    assert sorted(kept.held()["x"][:, 0]) == list(range(10))


def test_it_is_saved_with_the_model_and_goes_on(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.buffer = buffer(logits=True)
    model.buffer.add(*rows(0, 30, 0), np.ones((30, 3)))
    path = tmp_path / "buffer.weights.h5"
    model.save_weights(path)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    other.buffer = kt.layers.ReplayBuffer.from_config(model.buffer.get_config())
    other.load_weights(path)
    for one in (model, other):
        one.buffer.add(*rows(30, 30, 1), np.zeros((30, 3)))
    for name, value in model.buffer.held().items():
        np.testing.assert_array_equal(value, other.buffer.held()[name])
    held = other.buffer.held()
    np.testing.assert_array_equal(held["logits"], np.where(held["y"][:, None] == 0, 1.0, 0.0) * np.ones(3))


def test_logits_that_nobody_said_are_nan():
    kept = buffer(logits=True)
    kept.add(*rows(0, 4, 0))
    assert np.isnan(kept.held()["logits"]).all()
    assert all(np.isfinite(value).all() for value in kept.get_weights())


def test_bytes():
    assert buffer(capacity=100, shape=(28, 28, 1), rows_dtype="uint8").bytes == 100 * (784 + 4)
    assert buffer(capacity=100, shape=(28, 28, 1), logits=True).bytes == 100 * (4 * 784 + 4 + 3 * 4)


@pytest.mark.parametrize(
    "add, said",
    [
        (lambda kept: kept.add(np.zeros((3, 4)), np.zeros(3, int)), r"`x` of shape \(rows, 2\); received \(3, 4\)"),
        (lambda kept: kept.add(np.zeros((3, 2)), np.full(3, 7)), r"labels \(3,\) from 0 to 2"),
        (lambda kept: kept.add(np.zeros((3, 2)), np.zeros(2, int)), r"labels \(3,\)"),
        (lambda kept: kept.replace(np.zeros((13, 2)), np.zeros(13, int)), "at most 12 rows to keep; received 13"),
        (lambda kept: buffer(logits=True).add(*rows(0, 3, 0), np.zeros((3, 2))), r"`logits` of shape \(3, 3\)"),
        (lambda kept: buffer(capacity=2), "one row for each of 3 classes; received 2"),
        (lambda kept: buffer(rows_dtype="string"), "rows of numbers"),
        (
            lambda kept: buffer(rows_dtype="uint8").add(np.full((3, 2), 0.5), np.zeros(3, int)),
            "values that uint8 holds",
        ),
        (lambda kept: buffer(rows_dtype="uint8").add(np.full((3, 2), 256), np.zeros(3, int)), "from 256 to 256, which"),
    ],
)
def test_what_does_not_fit_is_told(add, said):
    with pytest.raises(ValueError, match=said):
        add(buffer())
