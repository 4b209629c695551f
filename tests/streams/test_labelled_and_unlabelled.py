"""Streams of labelled and unlabelled rows, and of images with descriptions."""

import numpy as np
import pytest

import keras_transfer as kt


def data(rows=9, many=100):
    x = np.arange(rows, dtype="float32")[:, None]
    return (x, np.arange(rows) % 3), 10.0 + 0.5 * np.arange(many, dtype="float32")[:, None]


def test_batches_are_balanced_and_the_unlabelled_go_on():
    labelled, many = data()
    stream = kt.streams.labelled_and_unlabelled(labelled, many, batch_size=6, ratio=4, steps=2, seed=0, rows=True)
    seen = []
    for _ in range(2):
        for x, y in stream.as_numpy_iterator():
            assert np.bincount(y).tolist() == [2, 2, 2] and (y == x["labelled"][:, 0] % 3).all()
            np.testing.assert_array_equal(many[x["unlabelled_rows"]], x["unlabelled"])
            seen += x["unlabelled"][:, 0].tolist()
    assert len(seen) == len(set(seen)) == 96  # no row again before all were seen


def test_views():
    labelled, many = data()
    weak, strong = (lambda x: x + 0.25), (lambda x: x + 0.5)
    x, _ = next(iter(kt.streams.labelled_and_unlabelled(labelled, many, weak, strong, 3, seed=0)))
    np.testing.assert_allclose(x["unlabelled_strong"] - x["unlabelled_weak"], 0.25)
    assert np.all(np.asarray(x["labelled"]) % 1 == 0.25)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"classes": 4}, "labels of each of 4 classes; received none of class 3"),
        ({"classes": 2}, "labels of each of 2 classes; received a label 2"),
        ({"batch_size": 4}, "a multiple of the 3 classes"),
        ({"batch_size": 2}, "a multiple of the 3 classes"),
        ({"unlabelled": np.zeros((100, 2), "float32")}, "of one shape and dtype"),
        ({"unlabelled": 1e6 * np.ones((100, 1), "float32")}, "the same value range"),
        ({"exclude": 11.0 + np.zeros((1, 1), "float32")}, "apart from those to exclude; received 1"),
        ({"labelled": np.zeros((9, 1))}, "`labelled` as .x, y."),
        ({"ratio": 50}, "at least 150 unlabelled"),
    ],
)
def test_streams_that_are_none(change, message):
    labelled, many = data()
    given = {"labelled": labelled, "unlabelled": many, "batch_size": 3, **change}
    with pytest.raises(ValueError, match=message):
        kt.streams.labelled_and_unlabelled(given.pop("labelled"), given.pop("unlabelled"), **given)


def test_labelled_rows_among_the_unlabelled_are_counted():
    (x, y), many = data()
    with pytest.warns(UserWarning, match="received 9 of 9 that are labelled too"):
        kt.streams.labelled_and_unlabelled((x, y), np.concatenate([many, x]), batch_size=3)


def test_a_batch_of_descriptions_says_nothing_twice():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 200)
    said = [[f"class {c}", f"the class {c}"] for c in range(10)]
    stream = kt.streams.described(y[:, None].astype("float32"), said, y, batch_size=8, steps=20, seed=0)
    heard = set()
    for batch in stream.as_numpy_iterator():
        classes = batch["image"][:, 0].astype(int)
        assert len(set(classes)) == 8
        assert [int(text.split()[-1]) for text in batch["description"]] == classes.tolist()
        heard |= set(batch["description"])
    assert len(heard) == 20


def test_descriptions_of_rows():
    x = np.arange(20, dtype="float32")[:, None]
    pairs = list(kt.streams.described(x, 2 * x, batch_size=5, seed=0).as_numpy_iterator())
    assert sorted(np.concatenate([p["image"] for p in pairs])[:, 0]) == list(range(20))
    assert all((p["description"] == 2 * p["image"]).all() for p in pairs)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.zeros((4, 2)), np.zeros((3, 2))), "a description of each of 4 rows, at least 2; received 3"),
        ((np.zeros((4, 2)), [["a"]] * 2, np.zeros(4, int)), "of at least 2 classes.* received 4 labels of 1 classes"),
        ((np.zeros((4, 2)), [["a"], []], np.array([0, 1, 0, 1])), "none of class 1"),
    ],
)
def test_descriptions_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.described(*arguments, batch_size=2)
