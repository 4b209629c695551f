"""A dataset that is another one in each pass."""

import tensorflow as tf

from keras_transfer.streams.prefetched import prefetched


def numbered_passes(make, steps):
    """Returns a dataset of `steps` elements that is `make(0)` in its first pass, `make(1)` in its second, and so on.

    Passes are counted when their last element is taken: an iterator that is dropped before, as Keras drops those that
    it only peeks into, leaves the order as it was.

    Args:
        make: function from an int64 scalar tensor, the number of the pass, to a dataset of `steps` elements.
        steps: int, the number of elements of each pass.

    Returns:
        A `tf.data.Dataset` of known length, which prepares its next elements while one is used.
    """
    number = tf.Variable(0, dtype=tf.int64, trainable=False)

    def count(step, element):
        with tf.control_dependencies([number.assign_add(tf.cast(step == steps - 1, tf.int64))]):
            return tf.nest.map_structure(tf.identity, element)

    dataset = tf.data.Dataset.from_tensors(0).map(lambda _: number.read_value()).flat_map(make)
    dataset = prefetched(dataset).enumerate().map(count)  # behind the prefetching: what was prepared is not yet taken
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return dataset.apply(tf.data.experimental.assert_cardinality(steps)).with_options(options)
