"""A dataset that is another one in each pass."""

import math

import tensorflow as tf

from keras_transfer.streams.prefetched import prefetched


def shuffled(rows, seed, number):
    """Returns the places of all rows in the order of a pass.

    Args:
        rows: int, the number of rows.
        seed: int.
        number: int64 scalar tensor, of the pass.
    """
    return tf.random.experimental.stateless_shuffle(tf.range(rows), tf.stack([tf.constant(seed, tf.int64), number]))


def going_on(rows, wanted, seed, number):
    """Returns the places of an epoch's rows where passes follow each other without a gap, each in an order of its own.

    Args:
        rows: int, the number of rows.
        wanted: int, how many an epoch takes.
        seed: int.
        number: int64 scalar tensor, of the epoch.

    Returns:
        Integer tensor `(wanted,)`: the epoch's share, cut out of the passes that it touches.
    """
    first_pass, offset = number * wanted // rows, number * wanted % rows
    passes = range(math.ceil(wanted / rows) + 1)
    return tf.concat([shuffled(rows, seed, first_pass + one) for one in passes], axis=0)[offset : offset + wanted]


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
