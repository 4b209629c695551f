import tensorflow as tf

from keras_transfer.streams.passes import numbered_passes


def stream():
    return numbered_passes(lambda number: tf.data.Dataset.range(10 * number, 10 * number + 4), 4)


def test_each_pass_is_another():
    dataset = stream()
    assert len(dataset) == 4
    assert [list(dataset.as_numpy_iterator()) for _ in range(3)] == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]


def test_a_pass_that_breaks_off_does_not_count():
    dataset = stream()
    for taken in (0, 1, 3):
        iterator = dataset.as_numpy_iterator()
        assert [next(iterator) for _ in range(taken)] == list(range(taken))
        del iterator
    assert list(dataset.as_numpy_iterator()) == [0, 1, 2, 3]
