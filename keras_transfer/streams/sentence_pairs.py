"""The stream of contrasts between sentences: each with itself, with another of its class, or with its pair."""

import numpy as np
import tensorflow as tf

from keras_transfer.streams import gate
from keras_transfer.streams.passes import numbered_passes, shuffled
from keras_transfer.streams.texts import checked_texts


def sentence_pairs(texts, batch_size=64, labels=None, seed=None):
    """Makes pairs of sentences, reshuffled in each pass, as a function of the seed and of the completed epochs.

    Args:
        texts: array of strings `(rows,)`, or a tuple of two: sentences and what each is paired with. A sentence alone
            is paired with itself.
        batch_size: int of at least 2, pairs in a batch; the remainder is dropped.
        labels: integer array `(rows,)`: a sentence is paired with another of its class, drawn anew in each epoch.
        seed: int; None draws one.

    Returns:
        A `tf.data.Dataset` of `{"view_1": strings (batch_size,), "view_2": strings (batch_size,)}`.

    Raises:
        ValueError: if texts are no strings in UTF-8, there are fewer than a batch, lengths differ, labels come with
            pairs, or a class has one sentence.
    """
    gate.check_count(batch_size, "batch_size", 2)
    first, *second = (checked_texts(part, "texts") for part in (texts if isinstance(texts, tuple) else (texts,)))
    second = second[0] if second else first
    if len(first) != len(second) or len(first) < batch_size:
        raise ValueError(
            f"Expected pairs of as many texts, at least {batch_size}; received {len(first)} and {len(second)}."
        )
    table = _classes(labels, len(first), second is not first)
    first, second = tf.constant(first, tf.string), tf.constant(second, tf.string)
    rows, steps = len(first), len(first) // batch_size
    seed = int(np.random.default_rng(seed).integers(2**31))

    def one_pass(number):
        order = shuffled(rows, seed, number)[: steps * batch_size]
        others = order if table is None else _others(order, table, tf.stack([seed + 1, number]))
        pairs = {"view_1": tf.gather(first, order), "view_2": tf.gather(second, others)}
        pairs = {view: tf.reshape(part, (steps, batch_size)) for view, part in pairs.items()}
        return tf.data.Dataset.from_tensor_slices(pairs)

    return numbered_passes(one_pass, steps)


def _classes(labels, rows, paired):
    """Rows by class, where each class begins, how many it has, and the place of each row among them; or None."""
    if labels is None:
        return None
    y = gate.known_labels(labels, "labels")
    if len(y) != rows or paired:
        raise ValueError(f"Expected {rows} labels of single texts; received {len(y)}{' of pairs' if paired else ''}.")
    classes, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        raise ValueError(f"Expected at least 2 texts of each class; received one of class {classes[counts.argmin()]}.")
    order = np.argsort(inverse, kind="stable")
    begins = np.cumsum(counts) - counts
    place = np.empty(rows, int)
    place[order] = np.arange(rows) - begins[inverse[order]]
    return [tf.constant(part, tf.int32) for part in (order, begins[inverse], counts[inverse], place)]


def _others(rows, table, key):
    """Another row of the class of each."""
    order, begins, counts, place = (table[0], *(tf.gather(part, rows) for part in table[1:]))
    draws = tf.random.stateless_uniform(tf.shape(rows), key)
    shift = 1 + tf.cast(draws * tf.cast(counts - 1, tf.float32), tf.int32)
    return tf.gather(order, begins + (place + tf.minimum(shift, counts - 1)) % counts)
