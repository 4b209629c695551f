"""The stream of semi-supervised learning: a few labelled rows, and views of many without labels."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import going_on, numbered_passes


def labelled_and_unlabelled(
    labelled,
    unlabelled,
    weak=None,
    strong=None,
    batch_size=20,
    ratio=4,
    balanced=True,
    steps=None,
    classes=None,
    exclude=None,
    rows=False,
    seed=None,
):
    """Makes batches of labelled rows and, `ratio` times as many, of unlabelled ones in one or two views.

    Labelled and unlabelled rows go on where they stopped, reshuffled in each pass over them, as a function of the seed
    and of the number of completed epochs.

    Args:
        labelled: `(x, y)`, arrays `(rows, ...)` and integer labels `(rows,)`.
        unlabelled: array `(rows, ...)` of the same shape, or `kt.datasets.ImageFiles`.
        weak: layer or function from a batch to a view of each row, of labelled and of unlabelled ones; None: as they
            are.
        strong: the same of the strong view; None: there is one view.
        batch_size: int, labelled rows in a batch.
        ratio: int, unlabelled rows for each labelled one.
        balanced: bool, whether a batch has as many labelled rows of each class, `batch_size` being a multiple of their
            number.
        steps: int, batches of an epoch; by default as many as make a pass over the unlabelled rows.
        classes: int, the number of classes, each of which needs a label; by default those that there are.
        exclude: array `(rows, ...)`, such as the test: an unlabelled row that is one of these is refused.
        rows: bool, whether the places of the unlabelled rows come too, as `kt.models.FixMatch(threshold="flex")` needs.
        seed: int that makes the order reproducible; None draws one.

    Returns:
        A `tf.data.Dataset` of `(x, y)`: x is a dict of `labelled`, and of `unlabelled`, or with a strong view of
        `unlabelled_weak` and `unlabelled_strong`; with `rows` also of `unlabelled_rows`, int32.

    Raises:
        ValueError: if shapes, dtypes or ranges differ, a class has no label, a batch has fewer labelled rows than there
            are classes or not as many of each, or an unlabelled row is one of `exclude`.

    Warns:
        UserWarning: of labelled rows that are among the unlabelled ones too, with their number.
    """
    for name, value in (("batch_size", batch_size), ("ratio", ratio)):
        gate.check_count(value, name, 1)
    for view in (weak, strong):
        if view is not None:
            gate.check_augmentation(view)
    if not isinstance(labelled, tuple) or len(labelled) != 2:
        raise ValueError(f"Expected `labelled` as (x, y); received {type(labelled).__name__}.")
    x, y = gate.arrays(labelled[0], "labelled", stored=True), gate.known_labels(labelled[1], "labels").astype("int32")
    unlabelled = gate.arrays(unlabelled, "unlabelled", stored=True)
    number = gate.length(unlabelled)
    if gate.length(x) != len(y) or number < batch_size * ratio:
        raise ValueError(
            f"Expected a label for each of {gate.length(x)} labelled rows, and at least {batch_size * ratio} "
            f"unlabelled ones; received {len(y)} labels and {number} rows."
        )
    _check_alike(x, unlabelled)
    members = _members(y, classes, batch_size, balanced)
    _check_apart(x, unlabelled, exclude)
    steps = max(1, number // (batch_size * ratio)) if steps is None else steps
    gate.check_count(steps, "steps", 1)
    data, many = held((x, y)), held(unlabelled)
    seed = int(np.random.default_rng(seed).integers(2**31))

    def one_pass(pass_number):
        each = batch_size // len(members)
        parts = [
            tf.gather(places, going_on(len(places), steps * each, seed + 1 + i, pass_number))
            for i, places in enumerate(members)
        ]
        few = tf.concat([tf.reshape(part, (steps, each)) for part in parts], axis=1)
        more = tf.reshape(going_on(number, steps * batch_size * ratio, seed, pass_number), (steps, batch_size * ratio))
        return tf.data.Dataset.from_tensor_slices((few, more)).map(batch)

    def view_of(view, batch):
        return batch if view is None else view(batch)

    def batch(few, more):
        (x, y), u = gathered(data, few), gathered(many, more)
        streams = {"labelled": view_of(weak, x)}
        if strong is None:
            streams["unlabelled"] = view_of(weak, u)
        else:
            streams |= {"unlabelled_weak": view_of(weak, u), "unlabelled_strong": view_of(strong, u)}
        if rows:
            streams["unlabelled_rows"] = tf.cast(more, tf.int32)
        return streams, y

    return numbered_passes(one_pass, steps)


def _members(y, classes, batch_size, balanced):
    """The places of the labelled rows, those of each class by themselves where batches are balanced."""
    there = np.unique(y)
    lacking = sorted(set(range(classes or int(there.max()) + 1)) - set(there.tolist()))
    if lacking or (classes is not None and there.max() >= classes):
        raise ValueError(
            f"Expected labels of each of {classes or int(there.max()) + 1} classes; received "
            + (f"none of class {', '.join(map(str, lacking))}." if lacking else f"a label {there.max()}.")
        )
    if not balanced:
        return [tf.range(len(y))]
    if batch_size % len(there):
        raise ValueError(
            f"Expected a `batch_size` that is a multiple of the {len(there)} classes, of which a balanced batch has as "
            f"many rows each; received {batch_size}."
        )
    return [tf.constant(np.flatnonzero(y == label), tf.int32) for label in there]


def _check_alike(labelled, unlabelled):
    kinds = [
        keras.tree.map_structure(lambda a: f"{tuple(a.shape[1:])} {gate.kind(a)}", part)
        for part in (labelled, unlabelled)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"Expected `labelled` and `unlabelled` rows of one shape and dtype; received {kinds[0]} and {kinds[1]}."
        )
    gate.check_range(gate.sample(labelled), gate.sample(unlabelled), ("labelled", "unlabelled"))


def _check_apart(labelled, unlabelled, exclude):
    """Refuses unlabelled rows that test, and tells of those that are labelled, by their bytes; rows on disk pass."""
    arrays = isinstance(labelled, np.ndarray) and isinstance(unlabelled, np.ndarray)
    if exclude is None and not arrays:
        return
    if not arrays:
        raise ValueError("Expected arrays where rows are excluded; received rows in another structure or on disk.")
    known = {row.tobytes() for row in unlabelled}
    if exclude is not None:
        tests = gate.arrays(exclude, "exclude")
        if tests.shape[1:] != unlabelled.shape[1:] or tests.dtype != unlabelled.dtype:
            raise ValueError(
                f"Expected `exclude` of rows {unlabelled.shape[1:]}, {unlabelled.dtype}; received {tests.shape[1:]}, "
                f"{tests.dtype}."
            )
        found = sum(row.tobytes() in known for row in tests)
        if found:
            raise ValueError(f"Expected unlabelled rows apart from those to exclude; received {found} that are there.")
    twice = sum(row.tobytes() in known for row in labelled)
    if twice:
        warnings.warn(
            f"Expected unlabelled rows beside the labelled ones; received {twice} of {len(labelled)} that are labelled "
            "too: they then count as both.",
            stacklevel=3,
        )
