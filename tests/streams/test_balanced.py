import numpy as np
import pytest

import keras_transfer as kt


def taken(stream):
    return [(x, y) for x, y in stream.as_numpy_iterator()]


def test_as_many_of_each_and_small_classes_come_back_sooner():
    y = np.repeat([0, 1, 2], [30, 6, 3])
    x = np.arange(39)
    batches = taken(kt.streams.balanced(x, y, batch_size=13, steps=6, seed=0))
    assert [len(labels) for _, labels in batches] == [12] * 6
    for rows, labels in batches:
        assert np.bincount(labels).tolist() == [4, 4, 4]
        np.testing.assert_array_equal(y[rows], labels)
    seen = np.bincount(np.concatenate([rows for rows, _ in batches]), minlength=39)
    assert seen[:30].max() == 1 and seen[30:36].tolist() == [4] * 6 and seen[36:].tolist() == [8] * 3


def test_epochs_go_on_and_follow_the_seed():
    x, y = np.arange(40), np.arange(40) % 2
    stream = kt.streams.balanced(x, y, batch_size=8, steps=2, seed=3)
    epochs = [np.concatenate([rows for rows, _ in taken(stream)]) for _ in range(3)]
    assert len(np.unique(np.concatenate(epochs[:2]))) == 32  # none twice before all have been
    again = kt.streams.balanced(x, y, batch_size=8, steps=2, seed=3)
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in taken(again)]), epochs[0])
    assert len(kt.streams.balanced(x, y, batch_size=8)) == 5


def test_streams_of_a_method_and_strings():
    texts = np.array([f"text {i}" for i in range(8)], object)
    x, y = next(iter(kt.streams.balanced(texts, np.arange(8) % 2, 4, stream="text")))
    assert set(x) == {"text"} and x["text"].dtype == "string" and y.shape == (4,)


@pytest.mark.parametrize(
    "y, size, message",
    [
        (np.zeros(8, int), 4, "at least two classes; received 8 rows, 8 labels, of 1 classes"),
        (np.arange(7) % 2, 4, "as many labels as rows"),
        (np.arange(8) % 3 - 1, 6, "a label of each row in `y`; received 3 below 0"),
        (np.arange(8) % 4, 7, "at least 2 rows of each of 4 classes; received 7"),
    ],
)
def test_what_is_refused(y, size, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.balanced(np.zeros((8, 2), "float32"), y, size)
