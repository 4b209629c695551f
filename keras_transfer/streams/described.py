"""The stream of images with what is said of them, for two towers."""

import numpy as np
import tensorflow as tf

from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import going_on, numbered_passes, shuffled


def described(x, descriptions, y=None, batch_size=64, steps=None, seed=None):
    """Makes pairs of an image and a description, reshuffled in each pass.

    With labels a batch shows each class once, since partners of other rows count as negatives: the classes are drawn
    anew for each batch, of each an image and one of its descriptions.

    Args:
        x: array `(rows, ...)` of images, or features.
        descriptions: array of strings `(rows,)` or vectors `(rows, dim)`, what is said of each row; with labels a list
            over the classes of lists of strings or of vectors.
        y: integer labels `(rows,)`, places in the list `descriptions`; None: each row has its own.
        batch_size: int of at least 2, pairs in a batch; with labels at most as many as there are classes among them.
        steps: int, batches of an epoch; by default as many as make a pass over all rows.
        seed: int that makes the order reproducible; None draws one.

    Returns:
        A `tf.data.Dataset` of `{"image": (batch_size, ...), "description": (batch_size, ...)}`.

    Raises:
        ValueError: if there are fewer rows, or classes, than a batch takes, lengths differ, or a class has no
            description.
    """
    gate.check_count(batch_size, "batch_size", 2)
    x = gate.arrays(x, "x", stored=True)
    rows = gate.length(x)
    steps = max(1, rows // batch_size) if steps is None else steps
    gate.check_count(steps, "steps", 1)
    seed = int(np.random.default_rng(seed).integers(2**31))
    said, members = _said(descriptions, y, rows, batch_size)
    data = held((x, said))

    def one_pass(number):
        if members is None:
            images = described = tf.reshape(going_on(rows, steps * batch_size, seed, number), (steps, batch_size))
        else:
            images, described = _by_class(members, steps, batch_size, seed, number)
        return tf.data.Dataset.from_tensor_slices((images, described)).map(batch)

    def batch(image, description):
        return {"image": gathered(data[0], image), "description": gathered(data[1], description)}

    return numbered_passes(one_pass, steps)


def _said(descriptions, y, rows, batch_size):
    """All descriptions in one array; and of each class its rows and its descriptions: where they begin, how many."""
    if y is None:
        said = gate.arrays(descriptions, "descriptions")
        if len(said) != rows or rows < batch_size:
            raise ValueError(
                f"Expected a description of each of {rows} rows, at least {batch_size}; received {len(said)}. "
                "Descriptions of classes need labels `y`."
            )
        return said, None
    y = gate.known_labels(y, "y")
    classes, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(y) != rows or len(classes) < batch_size or classes.max() >= len(descriptions):
        raise ValueError(
            f"Expected a label of each of {rows} rows, of at least {batch_size} classes, all below "
            f"{len(descriptions)}; received {len(y)} labels of {len(classes)} classes up to {classes.max()}."
        )
    parts = [np.asarray(descriptions[label]) for label in classes]
    empty = [int(label) for label, part in zip(classes, parts) if not part.ndim or not len(part)]
    if empty:
        raise ValueError(f"Expected a list of descriptions of each class; received none of class {empty[0]}.")
    each = np.array([len(part) for part in parts])
    order = np.argsort(inverse, kind="stable")
    table = (order, np.cumsum(counts) - counts, counts, np.cumsum(each) - each, each)
    return gate.arrays(np.concatenate(parts), "descriptions"), [tf.constant(part, tf.int32) for part in table]


def _by_class(members, steps, batch_size, seed, number):
    """The places of an epoch's images and descriptions `(steps, batch_size)`, each class once in a batch."""
    order, begins, counts, said_begins, said_counts = members
    classes = len(begins)
    chosen = tf.map_fn(
        lambda step: shuffled(classes, seed, number * steps + step)[:batch_size],
        tf.range(steps, dtype=tf.int64),
        fn_output_signature=tf.TensorSpec((batch_size,), tf.int32),
    )
    draws = tf.random.stateless_uniform((2, steps, batch_size), tf.stack([seed + 1, tf.cast(number, tf.int32)]))

    def drawn(draw, begins, counts):
        counts = tf.gather(counts, chosen)
        within = tf.cast(draw * tf.cast(counts, tf.float32), tf.int32)
        return tf.gather(begins, chosen) + tf.minimum(within, counts - 1)

    return tf.gather(order, drawn(draws[0], begins, counts)), drawn(draws[1], said_begins, said_counts)
