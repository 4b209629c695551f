"""The stream of domain adaptation: labelled source, unlabelled target."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.streams.passes import numbered_passes
from keras_transfer.streams.prefetched import prefetched


def domains(source, target, batch_size=64, target_batch_size=None, classes=None, seed=None, shuffle_buffer=10_000):
    """Pairs batches of a labelled source with batches of an unlabelled target.

    One epoch is one pass over the source. The target goes on where it stopped, so that over the epochs all of it is
    seen, however long it is. Both are reshuffled at each pass, remainders of the source are dropped, and the next
    batches are prepared while one trains.

    From arrays, the order is a function of the seed and of the number of completed epochs; a new process starts the
    order anew. From datasets, rows are shuffled within a buffer.

    Args:
        source: `(x, y)` or `(x, y, sample_weight)`, as arrays of one length (x may be a nested structure of arrays), or
            as an unbatched `tf.data.Dataset` of such rows. An endless dataset needs `fit(..., steps_per_epoch=...)`.
        target: x alone, arrays or an unbatched dataset, of the same structure, shapes and dtypes as the source's x.
        batch_size: int, source rows in a batch.
        target_batch_size: int, target rows in a batch; `batch_size` by default.
        classes: int, the number of classes; integer labels are then checked to be 0 to `classes - 1`.
        seed: int that makes the order reproducible; None draws one.
        shuffle_buffer: int, rows held in memory to shuffle a dataset; arrays are shuffled whole.

    Returns:
        A `tf.data.Dataset` of `({"source": x (batch_size, ...), "target": x (target_batch_size, ...)}, y)`, or with
        sample weights in the third place.

    Raises:
        ValueError: if a domain is empty or smaller than its batch; if the two differ in structure, shape or dtype, or
            in range by more than ten times; if there are NaN or infinite values, or labels outside the classes; if the
            target comes with labels. Arrays are checked whole, datasets on their first batch.
    """
    sizes = {"source": batch_size, "target": batch_size if target_batch_size is None else target_batch_size}
    if min(sizes.values()) < 1:
        raise ValueError(f"Expected batches of at least 1 row; received {sizes}.")
    source, target = _rows(source), _rows(target)
    _check_labels_absent(source, target)
    samples = {"source": _sample(source, "source", sizes), "target": _sample(target, "target", sizes)}
    _check(samples["source"], samples["target"], classes)
    seed = int(np.random.default_rng(seed).integers(2**31))
    if isinstance(source, tf.data.Dataset) or isinstance(target, tf.data.Dataset):
        return _from_datasets(source, target, sizes, seed, shuffle_buffer)
    return _from_arrays(source, target, sizes, seed)


def _from_arrays(source, target, sizes, seed):
    source, target = (keras.tree.map_structure(tf.convert_to_tensor, rows) for rows in (source, target))
    source_rows, target_rows = _length(source), _length(target)
    steps = source_rows // sizes["source"]

    def order(rows, stream, number):
        return tf.random.experimental.stateless_shuffle(
            tf.range(rows), seed=tf.stack([tf.constant(2 * seed + stream, tf.int64), number])
        )

    def one_pass(number):
        source_index = order(source_rows, 0, number)[: steps * sizes["source"]]
        # The target's passes follow each other without a gap: this one cuts its share out of those that it touches.
        wanted = steps * sizes["target"]
        first_pass, offset = number * wanted // target_rows, number * wanted % target_rows
        passes = range(math.ceil(wanted / target_rows) + 1)
        orders = tf.concat([order(target_rows, 1, first_pass + number) for number in passes], axis=0)
        target_index = orders[offset : offset + wanted]
        return tf.data.Dataset.from_tensor_slices(
            (tf.reshape(source_index, (steps, sizes["source"])), tf.reshape(target_index, (steps, sizes["target"])))
        ).map(batch)

    def batch(source_index, target_index):
        x, *rest = keras.tree.map_structure(lambda rows: tf.gather(rows, source_index), source)
        x = {"source": x, "target": keras.tree.map_structure(lambda rows: tf.gather(rows, target_index), target)}
        return x, *rest

    return numbered_passes(one_pass, steps)


def _from_datasets(source, target, sizes, seed, shuffle_buffer):
    def batches(rows, stream):
        rows = rows if isinstance(rows, tf.data.Dataset) else tf.data.Dataset.from_tensor_slices(rows)
        rows = rows.shuffle(shuffle_buffer, seed=2 * seed + stream)
        rows = rows if stream == 0 else rows.repeat()
        return rows.batch(sizes["target" if stream else "source"], drop_remainder=True)

    endless_target = iter(batches(target, 1))  # outlives the epochs, so that the target goes on where it stopped
    pairs = batches(source, 0).map(lambda x, *rest: ({"source": x, "target": endless_target.get_next()}, *rest))
    return prefetched(pairs)


def _rows(data):
    """Returns arrays as NumPy arrays of the dtype that they train in, and datasets as they are."""
    if isinstance(data, tf.data.Dataset):
        return data

    def to_array(array):
        array = np.asarray(array)
        return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array

    return keras.tree.map_structure(to_array, data)


def _structure(data):
    return data.element_spec if isinstance(data, tf.data.Dataset) else data


def _check_labels_absent(source, target):
    source, target = _structure(source), _structure(target)
    if not isinstance(source, tuple) or len(source) not in (2, 3):
        raise ValueError(f"Expected `source` to be (x, y) or (x, y, sample_weight); received {_name(source)}.")
    if isinstance(target, tuple) and not isinstance(source[0], tuple):
        raise ValueError(
            f"Expected `target` to be x alone; received {_name(target)}. Labels of the target do not belong in "
            "training: pass them to `evaluate` after it."
        )


def _sample(data, name, sizes):
    """Returns what is checked: arrays whole, or the first batch of a dataset."""
    size = sizes[name]
    if isinstance(data, tf.data.Dataset):
        sample = next(data.batch(size).as_numpy_iterator(), None)
        found = "an empty dataset" if sample is None else f"a dataset of {_length(sample)} rows"
    else:
        sample, lengths = data, {len(array) for array in keras.tree.flatten(data)}
        if len(lengths) > 1:
            raise ValueError(f"Expected arrays of one length in `{name}`; received lengths {sorted(lengths)}.")
        found = f"{_length(data)} rows"
    if sample is None or _length(sample) < size:
        raise ValueError(f"Expected at least one batch of {size} rows in `{name}`; received {found}.")
    return sample


def _check(source, target, classes):
    x, y = source[:2]
    kinds = [keras.tree.map_structure(lambda a: f"{a.shape[1:]} {a.dtype}", part) for part in (x, target)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"Expected `source` and `target` of one structure, shape and dtype; received {kinds[0]} and {kinds[1]}."
        )
    for part, where in ((x, "source"), (target, "target"), (source[1:], "source labels")):
        for array in keras.tree.flatten(part):
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                bad = array.size - np.isfinite(array).sum()
                raise ValueError(f"Expected finite values in `{where}`; received {bad} that are NaN or infinite.")
    for a, b in zip(keras.tree.flatten(x), keras.tree.flatten(target)):
        if np.issubdtype(a.dtype, np.number):
            _check_ranges(a, b)
    if classes is not None and np.issubdtype(y.dtype, np.integer) and (y.min() < 0 or y.max() >= classes):
        raise ValueError(f"Expected labels from 0 to {classes - 1}; received labels from {y.min()} to {y.max()}.")


def _check_ranges(source, target):
    (low_s, high_s), (low_t, high_t) = (source.min(), source.max()), (target.min(), target.max())
    if min(low_s, low_t) >= 0 and max(high_s, high_t) > 10.0 * min(high_s, high_t):
        raise ValueError(
            "Expected `source` and `target` of the same value range; received "
            f"[{low_s:g}, {high_s:g}] and [{low_t:g}, {high_t:g}]. Rescale one of them."
        )


def _length(rows):
    return len(keras.tree.flatten(rows)[0])


def _name(structure):
    return f"a tuple of {len(structure)}" if isinstance(structure, tuple) else type(structure).__name__
