"""Rows of a batch by their places: from tensors in memory, or read from where they are stored."""

import keras
import tensorflow as tf

from keras_transfer.stored_rows import StoredRows


def held(rows):
    """Returns a structure of arrays as tensors; stored rows stay where they are.

    Args:
        rows: structure of arrays and `StoredRows`.
    """
    return keras.tree.map_structure(lambda a: a if isinstance(a, StoredRows) else tf.convert_to_tensor(a), rows)


def gathered(rows, places):
    """Returns the rows at some places, inside a `tf.data.Dataset.map`.

    Args:
        rows: structure of tensors `(rows, ...)` and `StoredRows`, as `held` returns it.
        places: integer tensor of any shape.

    Returns:
        The same structure of tensors `(*places.shape, ...)`.
    """

    def one(array):
        if not isinstance(array, StoredRows):
            return tf.gather(array, places)
        read = tf.numpy_function(array.__getitem__, [tf.reshape(places, (-1,))], tf.as_dtype(array.dtype), False)
        batch = tf.reshape(read, tf.concat([tf.shape(places), array.shape[1:]], axis=0))
        batch.set_shape((*places.shape, *array.shape[1:]))
        return batch

    return keras.tree.map_structure(one, rows)
