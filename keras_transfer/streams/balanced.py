"""The stream of batches with as many rows of each class."""

import numpy as np
import tensorflow as tf

from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import going_on, numbered_passes


def balanced(x, y, batch_size=32, steps=None, seed=None, stream=None):
    """Makes batches with as many rows of each class, however many there are of it.

    Each class goes on where it stopped, in an order that is reshuffled at each pass over it and a function of the seed
    and of the number of completed epochs: in small classes rows come back sooner.

    Args:
        x: array `(rows, ...)`, of numbers or strings, or a dict or tuple of such.
        y: integer labels `(rows,)`.
        batch_size: int, rows in a batch; of each class as many as go in, at least 2.
        steps: int, batches of an epoch; by default as many as make a pass over all rows.
        seed: int that makes the order reproducible; None draws one.
        stream: str, the stream of a method that the rows are; None for plain batches.

    Returns:
        A `tf.data.Dataset` of `(x, y)`, or `({stream: x}, y)`.

    Raises:
        ValueError: if there is one class only, a batch holds fewer than 2 of each, or labels are not as many as rows.

    Example:

    ```python
    model.fit(kt.streams.balanced(texts, labels, batch_size=32, steps=40, stream="text"), shuffle=False)
    ```
    """
    gate.check_count(batch_size, "batch_size", 1)
    x, y = gate.arrays(x, "x", stored=True), gate.known_labels(y, "y").astype("int32")
    rows = gate.length(x)
    classes = np.unique(y)
    if rows != len(y) or len(classes) < 2:
        raise ValueError(
            f"Expected as many labels as rows, of at least two classes; received {rows} rows, {len(y)} labels, of "
            f"{len(classes)} classes."
        )
    each = batch_size // len(classes)
    if each < 2:
        raise ValueError(
            f"Expected a `batch_size` of at least 2 rows of each of {len(classes)} classes; received {batch_size}."
        )
    steps = max(1, rows // (each * len(classes))) if steps is None else steps
    gate.check_count(steps, "steps", 1)
    data = held((x, y))
    members = [tf.constant(np.flatnonzero(y == label), tf.int32) for label in classes]
    seed = int(np.random.default_rng(seed).integers(2**31))

    def one_pass(number):
        parts = [
            tf.reshape(tf.gather(places, going_on(len(places), steps * each, seed + label, number)), (steps, each))
            for label, places in enumerate(members)
        ]
        return tf.data.Dataset.from_tensor_slices(tf.concat(parts, axis=1)).map(batch)

    def batch(places):
        x, y = gathered(data, places)
        return (x if stream is None else {stream: x}), y

    return numbered_passes(one_pass, steps)
