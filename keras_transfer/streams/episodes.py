"""The stream of few-shot learning: episodes of a support set and the queries to answer from it."""

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.stored_rows import StoredRows
from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import numbered_passes


def episodes(
    x,
    labels,
    ways=5,
    shots=1,
    queries=15,
    episodes_per_batch=1,
    batches=100,
    rotations=False,
    new_each_pass=True,
    seed=None,
):
    """Draws episodes: `ways` classes, `shots` labelled examples of each, and `queries` others of each to classify.

    Classes are drawn without replacement, and so are the examples of a class: no class stands twice in an episode, no
    query is in its support. In an episode the classes are numbered anew, from 0 to `ways - 1`. All is drawn inside
    tf.data from tensors in memory, or read from files as it is drawn; the next batches are prepared while one trains.

    Args:
        x: array `(rows, ...)` or a dict or tuple of such arrays: images, or features of a frozen backbone. Or
            `kt.datasets.ImageFiles`, for more than memory holds.
        labels: integer array `(rows,)`, the class of each row; any integers.
        ways: int of at least 2, classes in an episode, or a pair of the least and the most: then drawn for each batch.
        shots: int of at least 1, support examples of each class, or a pair as above.
        queries: int of at least 1, query examples of each class.
        episodes_per_batch: int, episodes in a batch; those of one batch have equal ways and shots.
        batches: int, batches in a pass, an epoch of `fit`.
        rotations: bool, whether the image turned by 90, 180 and 270 degrees is another class each, so that there are
            four times as many; for square images `(rows, side, side, channels)`. Takes four times their memory.
        new_each_pass: bool, whether each pass draws other episodes, for training; False: the same ones each time, for
            validation and tests.
        seed: int that makes the episodes reproducible; None draws one.

    Returns:
        A `tf.data.Dataset` of `({"support": (x, labels), "query": x}, labels)` with shapes
        `(episodes_per_batch, ways * shots, ...)`, `(episodes_per_batch, ways * shots)`,
        `(episodes_per_batch, ways * queries, ...)` and `(episodes_per_batch, ways * queries)`; labels are int32.

    Raises:
        ValueError: if there are fewer classes than ways, or a class with fewer rows than shots and queries (named); if
            x is no array of finite numbers or strings, the arrays differ in length, labels are not integers, or a size
            is out of range. The error says what helps.

    Example:

    ```python
    stream = kt.streams.episodes(images, labels, ways=20, shots=5, queries=5, rotations=True)
    model.fit(stream, epochs=50)
    ```
    """
    x, labels = gate.arrays(x, "x", stored=True), gate.integer_labels(labels, "labels")
    ways, shots = _range(ways, "ways", 2), _range(shots, "shots", 1)
    for name, size in (("queries", queries), ("episodes_per_batch", episodes_per_batch), ("batches", batches)):
        gate.check_count(size, name, 1)
    _check(x, labels, ways, shots, queries, turns=4 if rotations else 1)
    if rotations:
        x, labels = _rotated(x, labels)
    classes, counts = np.unique(labels, return_counts=True)
    order = np.argsort(labels, kind="stable")
    x = keras.tree.map_structure(lambda a: a.subset(order) if isinstance(a, StoredRows) else a[order], x)
    x = held(x)  # class after class
    counts = tf.constant(counts)
    starts = tf.cumsum(counts, exclusive=True)
    longest = int(tf.reduce_max(counts))
    seed = int(np.random.default_rng(seed).integers(2**31))

    def batch(number):
        keys = tf.random.experimental.stateless_split(tf.stack([tf.constant(seed, tf.int64), number]), 4)
        chosen_ways, chosen_shots = _draw(ways, keys[0]), _draw(shots, keys[1])
        each = chosen_shots + queries
        lots = tf.random.stateless_uniform((episodes_per_batch, len(classes)), keys[2])
        chosen = tf.math.top_k(lots, chosen_ways, sorted=False).indices  # (episodes, ways)
        lots = tf.random.stateless_uniform((episodes_per_batch, chosen_ways, longest), keys[3])
        lots = tf.where(tf.range(longest, dtype=counts.dtype) < tf.gather(counts, chosen)[..., None], lots, -1.0)
        places = tf.cast(tf.math.top_k(lots, each, sorted=False).indices, starts.dtype)
        rows = tf.gather(starts, chosen)[..., None] + places  # (episodes, ways, shots + queries)

        def part(chosen_rows, size):
            flat = tf.reshape(chosen_rows, (episodes_per_batch, chosen_ways * size))
            numbers = tf.tile(tf.repeat(tf.range(chosen_ways), size)[None], (episodes_per_batch, 1))
            return gathered(x, flat), numbers

        query, answers = part(rows[..., chosen_shots:], queries)
        return {"support": part(rows[..., :chosen_shots], chosen_shots), "query": query}, answers

    def one_pass(number):
        first = number * batches if new_each_pass else tf.zeros((), tf.int64)
        return tf.data.Dataset.range(first, first + batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE)

    return numbered_passes(one_pass, batches)


def _range(size, name, least):
    low, *high = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size,)
    high = high[0] if high else low
    whole = all(isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in (low, high))
    if not whole or not least <= low <= high:
        raise ValueError(
            f"Expected `{name}` of at least {least}, or a pair of the least and the most; received {size!r}."
        )
    return int(low), int(high)


def _draw(limits, key):
    low, high = limits
    return low if low == high else tf.random.stateless_uniform((), key, low, high + 1, tf.int32)


def _check(x, labels, ways, shots, queries, turns):
    if gate.length(x) != len(labels):
        shapes = [array.shape for array in [*keras.tree.flatten(x), labels]]
        raise ValueError(f"Expected rows and labels (rows,) of one length; received shapes {shapes}.")
    classes, counts = np.unique(labels, return_counts=True)
    if turns * len(classes) < ways[1]:
        number = turns * len(classes)
        raise ValueError(f"Expected at least {ways[1]} classes, the `ways` of an episode; received {number}.")
    least = shots[1] + queries
    if counts.min() < least:
        few = {int(label): int(count) for label, count in zip(classes, counts) if count < least}
        raise ValueError(
            f"Expected at least {least} rows of each class, `shots` and `queries` together; received "
            f"{few[min(few)]} of class {min(few)}"
            + (f" and too few of {len(few) - 1} others." if len(few) > 1 else ".")
        )


def _rotated(images, labels):
    stored = isinstance(images, StoredRows)
    if stored or keras.tree.is_nested(images) or images.ndim != 4 or images.shape[1] != images.shape[2]:
        shapes = keras.tree.map_structure(lambda a: tuple(a.shape), images)
        received = f"files: `x[:]` reads them, of shape {shapes}" if stored else f"shape {shapes}"
        raise ValueError(f"Expected square images (rows, side, side, channels) to rotate; received {received}.")
    turned = [np.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)]
    _, labels = np.unique(labels, return_inverse=True)
    return np.concatenate(turned), np.concatenate([4 * labels + quarter for quarter in range(4)])
