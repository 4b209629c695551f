import collections

import keras
import numpy as np
import pytest

import keras_transfer as kt


def task(first=0, count=40, label=0):
    number = np.arange(first, first + count, dtype="float32")
    return np.stack([number, -number], 1), np.full(count, label, "int32")


def memory(**change):
    kept = kt.layers.ReplayBuffer(**{"capacity": 12, "shape": (2,), "classes": 3, **change})
    kept.add(*task(100, 30, 1))
    return kept


def test_every_row_as_often_as_the_others_and_labels_with_rows():
    stream = kt.streams.replay(task(), memory(), batch_size=8, memory_batch_size=5, seed=0)
    now, then = [], []
    for _ in range(3):
        batches = list(stream.as_numpy_iterator())
        assert len(batches) == 5
        for x, y in batches:
            assert x["current"].shape == (8, 2) and x["memory"]["x"].shape == (5, 2)
            assert (y == 0).all() and (x["memory"]["y"] == 1).all()
            now += x["current"][:, 0].tolist()
            then += x["memory"]["x"][:, 0].tolist()
    assert set(collections.Counter(now).values()) == {3}
    counts = collections.Counter(then)
    assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1 and min(counts) >= 100


def test_an_empty_buffer_gives_rows_of_the_task():
    empty = kt.layers.ReplayBuffer(12, (2,), 3, logits=True)
    for x, _ in kt.streams.replay(task(), empty, 8, seed=0):
        assert np.isnan(x["memory"]["logits"]).all() and (np.array(x["memory"]["x"])[:, 0] < 40).all()


def test_without_a_buffer_batches_are_plain():
    stream = kt.streams.replay(task(), None, 8, seed=0, steps=9)
    batches = list(stream.as_numpy_iterator())
    assert len(batches) == 9 and batches[0][0].shape == (8, 2)
    counts = collections.Counter(x for batch, _ in batches for x in batch[:, 0])
    assert set(counts.values()) == {1, 2}  # 72 rows of 40


def test_order_follows_from_the_seed_and_the_number_of_epochs():
    def epochs(seed):
        stream = kt.streams.replay(task(), memory(), 8, seed=seed)
        return [keras.tree.flatten(list(stream.as_numpy_iterator())) for _ in range(2)]

    same = zip(keras.tree.flatten(epochs(1)), keras.tree.flatten(epochs(1)))
    assert all(np.array_equal(a, b) for a, b in same)
    first, second = epochs(1)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not all(np.array_equal(a, b) for a, b in zip(first, epochs(2)[0]))


@pytest.mark.parametrize(
    "data, change, said",
    [
        (task()[0], {}, r"`data` to be \(x, y\)"),
        ((task()[0], task()[1][:5]), {}, "as many labels as rows"),
        (task(count=7), {}, "one batch of 8; received 7 rows"),
        ((np.zeros((40, 3)), task()[1]), {}, r"rows of shape \(2,\), as the buffer keeps them; received \(40, 3\)"),
        (task(label=5), {}, "labels from 0 to 2"),
        ((task()[0].astype("uint8"), task()[1]), {}, "`memory` of values that uint8 holds"),
        (task(), {"steps": 0}, "`steps` to be an integer of at least 1"),
    ],
)
def test_what_does_not_fit_is_told(data, change, said):
    with pytest.raises(ValueError, match=said):
        kt.streams.replay(data, memory(), 8, **change)


# Tasks.


def test_tasks_by_classes():
    x, y = np.arange(12.0)[:, None], np.arange(12) % 4
    first, second = kt.streams.tasks(x, y, [[0, 3], [2, 1]])
    assert first[0].ravel().tolist() == [0, 3, 4, 7, 8, 11] and set(first[1]) == {0, 3}
    again, relabelled = kt.streams.tasks(x, y, [[0, 3], [2, 1]], relabel=True)
    assert again[1].tolist() == [0, 1] * 3
    np.testing.assert_array_equal(relabelled[1], second[1] == 1)
    for classes, said in (
        ([[0, 1], [1]], "each class in one task"),
        ([[0, 9]], r"rows of each class; received none of \[9\], of task 0"),
    ):
        with pytest.raises(ValueError, match=said):
            kt.streams.tasks(x, y, classes)
    with pytest.raises(ValueError, match="one number of classes to relabel"):
        kt.streams.tasks(x, y, [[0, 1], [2]], relabel=True)


def test_permutations():
    x, y = np.random.default_rng(0).random((5, 2, 3)).astype("float32"), np.arange(5)
    plain, *others = kt.streams.permutations(x, y, 3, seed=1)
    np.testing.assert_array_equal(plain[0], x)
    for permuted, labels in others:
        np.testing.assert_array_equal(labels, y)
        np.testing.assert_allclose(np.sort(permuted.reshape(5, 6)), np.sort(x.reshape(5, 6)))
        place = [int(np.flatnonzero(x.reshape(5, 6)[0] == value)[0]) for value in permuted.reshape(5, 6)[0]]
        np.testing.assert_array_equal(permuted.reshape(5, 6), x.reshape(5, 6)[:, place])  # one order for all rows
        assert place != list(range(6))
