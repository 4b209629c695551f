import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt

images = np.arange(128.0, dtype="float32").reshape(8, 4, 4, 1)
labels = np.arange(8) % 2
rows = tf.data.Dataset.from_tensor_slices(images)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kt.streams.views(images, tf.identity, 4),
        lambda: kt.streams.views(rows, tf.identity, 4),
        lambda: kt.streams.domains((images, labels), images, 4),
        lambda: kt.streams.domains((images, labels), rows, 4),
        lambda: kt.streams.episodes(images, labels, ways=2, queries=2, batches=3),
    ],
)
def test_no_stream_is_autotuned(make):
    assert make().options().autotune.enabled is False


def test_batches_stay():
    batches = rows.batch(3)
    found = list(kt.streams.prefetched(batches).as_numpy_iterator())
    np.testing.assert_equal(found, list(batches.as_numpy_iterator()))


def test_what_is_no_dataset():
    with pytest.raises(ValueError, match="a batched tf.data.Dataset; received ndarray. Of arrays"):
        kt.streams.prefetched(images)
