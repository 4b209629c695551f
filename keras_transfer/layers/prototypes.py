"""Prototypes: the mean of the features of each class, and distances to them."""

from keras import ops

ABSENT = -1e9  # the logit of a class without examples: its probability is 0


def class_means(features, labels, classes):
    """Returns the mean of the features of each class.

    Args:
        features: tensor `(..., rows, dim)`.
        labels: integer tensor `(..., rows)`, 0 to `classes - 1`.
        classes: int, or a scalar tensor on TensorFlow.

    Returns:
        Prototypes `(..., classes, dim)`, float32, zeros for a class without rows, and the number of rows of each class
        `(..., classes)`, float32.
    """
    features = ops.cast(features, "float32")
    numbers = ops.arange(classes, dtype="int32")
    member = ops.cast(
        ops.equal(ops.expand_dims(numbers, -1), ops.expand_dims(ops.cast(labels, "int32"), -2)), "float32"
    )
    counts = ops.sum(member, axis=-1)
    return ops.matmul(member, features) / ops.maximum(ops.expand_dims(counts, -1), 1.0), counts


def squared_distances(x, y):
    """Returns the squared Euclidean distances of all pairs of rows.

    Args:
        x: tensor `(..., n, dim)`.
        y: tensor `(..., m, dim)`.

    Returns:
        Tensor `(..., n, m)`, float32, at least 0.
    """
    x, y = ops.cast(x, "float32"), ops.cast(y, "float32")
    squares_x = ops.sum(ops.square(x), axis=-1, keepdims=True)
    squares_y = ops.expand_dims(ops.sum(ops.square(y), axis=-1), -2)
    products = ops.matmul(x, ops.swapaxes(y, -1, -2))
    return ops.maximum(squares_x + squares_y - 2.0 * products, 0.0)
