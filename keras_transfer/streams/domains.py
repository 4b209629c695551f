"""The stream of domain adaptation: labelled sources, unlabelled target, and what few labels the target may have."""

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.checks import check_finite
from keras_transfer.stored_rows import StoredRows
from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import going_on, numbered_passes, shuffled
from keras_transfer.streams.prefetched import prefetched


def domains(
    source,
    target,
    batch_size=64,
    target_batch_size=None,
    classes=None,
    seed=None,
    shuffle_buffer=10_000,
    check_range=True,
    augment=None,
    labelled_target=None,
    labelled_target_batch_size=8,
):
    """Pairs batches of a labelled source with batches of an unlabelled target.

    One epoch is one pass over the source. The target goes on where it stopped, so that over the epochs all of it is
    seen, however long it is. Both are reshuffled at each pass, remainders of the source are dropped, and the next
    batches are prepared while one trains.

    From arrays, the order is a function of the seed and of the number of completed epochs; a new process starts the
    order anew. From datasets, rows are shuffled within a buffer. What an augmentation draws follows from the seeds of
    its layers, or from `keras.utils.set_random_seed` before they are made.

    Args:
        source: `(x, y)` or `(x, y, sample_weight)`, as arrays of one length (x may be a dict or tuple of arrays), or
            as an unbatched `tf.data.Dataset` of such rows. An endless dataset needs `fit(..., steps_per_epoch=...)`.
            Or several sources, a dict of names to such arrays: a batch holds as many rows of each, one behind the
            other; an epoch is a pass over the largest, and the others go on where they stopped.
        target: x alone, arrays or an unbatched dataset, of the same structure, shapes and dtypes as the source's x.
            Strings are one dtype, whatever their width. For more images than memory holds, the x of either domain is
            `kt.datasets.ImageFiles`.
        batch_size: int, source rows in a batch: of several sources together, a multiple of their number.
        target_batch_size: int, target rows in a batch; `batch_size` by default.
        classes: int, the number of classes; labels are then checked to be whole numbers from 0 to `classes - 1`, or
            floats from 0 to 1 of shape `(rows, classes)`.
        seed: int that makes the order reproducible; None draws one.
        shuffle_buffer: int, rows held in memory to shuffle a dataset; arrays are shuffled whole.
        check_range: bool, whether to refuse domains whose largest absolute values differ by more than ten times, such
            as pixels from -1 to 1 and from 0 to 255. False lets ids of tokens and values with heavy tails pass.
        augment: layer or function from a batch to views of it, which draws for each row by itself; of both domains. Or
            a dict of the streams to such a layer or function, or None for the rows as they are: `source`, and one or
            more streams that are views of the same target rows, such as `target_weak` and `target_strong`.
        labelled_target: the few rows of the target that have labels, `(x, y)` or `(x, y, sample_weight)` as arrays, for
            semi-supervised adaptation; the domains are arrays then. They join each batch of the source, behind its
            rows, and go on where they stopped.
        labelled_target_batch_size: int, such rows in a batch, beside `batch_size` of the source.

    Returns:
        A `tf.data.Dataset` of `({"source": x (batch_size, ...), "target": x (target_batch_size, ...)}, y)`, or with
        sample weights in the third place; with a dict `augment` the streams that it names.

    Raises:
        ValueError: if a domain is empty or smaller than its batch, batched already, or no array of numbers or strings;
            if the two differ in structure, shape, dtype or range; if there are NaN or infinite values, labels that are
            strings or outside the classes; if the target comes with labels; if `augment` is no such layer, function or
            dict, or crops a whole batch at one place. Arrays are checked whole, datasets on their first batch. The
            error says what helps.

    Example:

    ```python
    augment = {"source": strong, "target_weak": weak, "target_strong": strong}  # each a `keras.Sequential`
    stream = kt.streams.domains((x_source, y_source), x_target, augment=augment)
    ```
    """
    sizes = {"source": batch_size, "target": batch_size if target_batch_size is None else target_batch_size}
    gate.check_count(batch_size, "batch_size", 1)
    gate.check_count(sizes["target"], "target_batch_size", 1)
    gate.check_count(shuffle_buffer, "shuffle_buffer", 1)
    augment = _checked_augmentation(augment)
    _check_labels_absent(source, target)
    sources = source if isinstance(source, dict) else {"source": source}
    share, left = divmod(batch_size, len(sources))
    if left or not share:
        raise ValueError(
            f"Expected `batch_size` to be a multiple of the number of sources, {len(sources)}, of which a batch holds "
            f"as many rows each; received {batch_size}."
        )
    checked = {name: _checked(one, _names(name), share) for name, one in sources.items()}
    target, target_sample = _checked(target, ("target",), sizes["target"])
    for name, (_, (x, y, *_)) in checked.items():
        _check_kinds({_names(name)[0]: x, "target": target_sample})
        gate.check_classes(y, classes, _names(name)[1])
        if check_range:
            gate.check_range(x, target_sample, (_names(name)[0], "target"))
    sources = {name: one for name, (one, _) in checked.items()}
    first, *others = sources.values()
    datasets = any(isinstance(rows, tf.data.Dataset) for rows in (*sources.values(), target))
    if others and (datasets or len({len(one) for one in sources.values()}) > 1):
        raise ValueError(
            "Expected several sources to be arrays, all with sample weights or none; received "
            f"{ {name: _name(one) for name, one in sources.items()} }."
        )
    few = None
    if labelled_target is not None:
        few = _checked_few(labelled_target, first, labelled_target_batch_size, classes, datasets)
    seed = int(np.random.default_rng(seed).integers(2**31))
    if datasets:
        return _from_datasets(first, target, sizes, seed, shuffle_buffer, augment)
    labelled = sorted(((one, share) for one in sources.values()), key=lambda pair: -gate.length(pair[0]))
    labelled += [] if few is None else [(few, labelled_target_batch_size)]
    return _from_arrays(labelled, (target, sizes["target"]), seed, augment)


def _from_arrays(labelled, target, seed, augment):
    """Returns batches of arrays.

    Args:
        labelled: list of pairs of `(x, y)`, or with sample weights, and the rows of it in a batch; one pass over the
            first is an epoch.
        target: pair of x and the rows of it in a batch.
        seed: int.
        augment: dict of streams to what makes them.
    """
    first, *others = labelled
    parts = [(held(rows), size, gate.length(rows)) for rows, size in (first, target, *others)]
    steps = parts[0][2] // parts[0][1]

    def one_pass(number):
        places = [shuffled(parts[0][2], 2 * seed, number)[: steps * parts[0][1]]]
        for stream, (_, size, rows) in enumerate(parts[1:], 1):
            places.append(going_on(rows, steps * size, 2 * seed + stream, number))
        batches = tuple(tf.reshape(index, (steps, size)) for index, (_, size, _) in zip(places, parts))
        return tf.data.Dataset.from_tensor_slices(batches).map(batch)

    def batch(*places):
        source, target, *others = (gathered(part, index) for index, (part, *_) in zip(places, parts))
        if others:
            source = keras.tree.map_structure(lambda *rows: tf.concat(rows, 0), source, *others)
        x, *rest = source
        return _viewed(x, target, augment), *rest

    return numbered_passes(one_pass, steps)


def _viewed(source, target, augment):
    """Returns the streams of a batch: what the augmentation of each makes of the rows of its domain."""
    rows = {stream: source if stream == "source" else target for stream in augment}
    return {stream: rows[stream] if view is None else view(rows[stream]) for stream, view in augment.items()}


def _from_datasets(source, target, sizes, seed, shuffle_buffer, augment):
    def batches(rows, stream):
        rows = _rows(rows, shuffle_buffer, 2 * seed + stream)
        rows = rows if stream == 0 else rows.repeat()
        return rows.batch(sizes["target" if stream else "source"], drop_remainder=True)

    endless_target = iter(batches(target, 1))  # outlives the epochs, so that the target goes on where it stopped
    pairs = batches(source, 0).map(lambda x, *rest: (_viewed(x, endless_target.get_next(), augment), *rest))
    return prefetched(pairs)


def _rows(rows, shuffle_buffer, seed):
    """Returns a shuffled unbatched dataset of rows."""
    if isinstance(rows, tf.data.Dataset):
        return rows.shuffle(shuffle_buffer, seed=seed)
    if not any(isinstance(part, StoredRows) for part in keras.tree.flatten(rows)):
        return tf.data.Dataset.from_tensor_slices(rows).shuffle(shuffle_buffer, seed=seed)
    kept, number = held(rows), gate.length(rows)
    return tf.data.Dataset.range(number).shuffle(number, seed=seed).map(lambda place: gathered(kept, place))


def _checked_augmentation(augment):
    """Returns the augmentation of each stream, a dict."""
    if not isinstance(augment, dict):
        augment = dict.fromkeys(("source", "target"), augment)
    if "source" not in augment or len(augment) < 2 or not all(isinstance(stream, str) for stream in augment):
        raise ValueError(
            "Expected `augment` to be one layer or function, or a dict of `source` and of streams that are views of "
            f"the target; received a dict of {tuple(augment)}."
        )
    for view in augment.values():
        if view is not None:
            gate.check_augmentation(view)
    return augment


def _check_labels_absent(source, target):
    *sources, target = (
        data.element_spec if isinstance(data, tf.data.Dataset) else data
        for data in (*(source.values() if isinstance(source, dict) else [source]), target)
    )
    if not sources:
        raise ValueError("Expected at least one source; received an empty dict.")
    for one in sources:
        if not isinstance(one, tuple) or len(one) not in (2, 3):
            raise ValueError(f"Expected `source` to be (x, y) or (x, y, sample_weight); received {_name(one)}.")
    if isinstance(target, tuple) and not isinstance(sources[0][0], tuple):
        raise ValueError(
            f"Expected `target` to be x alone; received {_name(target)}. Labels of the target do not belong in "
            "training: pass them to `evaluate` after it."
        )


def _checked(data, names, rows):
    """Returns a domain, arrays as NumPy arrays, and what of it is checked: arrays whole, of a dataset the first batch.

    Args:
        data: the domain.
        names: tuple of str, of its parts; of one alone it is x itself.
        rows: int, rows of its batches.
    """
    if isinstance(data, tf.data.Dataset):
        sample = gate.first_batch(data, names[0], rows)
        for part, name in zip([sample] if len(names) == 1 else sample, names):
            check_finite(part, name)
        return data, sample
    if len(names) == 1:
        data = gate.arrays(data, names[0], stored=True)
    else:
        data = tuple(gate.arrays(part, name, stored=True) for part, name in zip(data, names))
    lengths = sorted({len(array) for array in keras.tree.flatten(data)})
    if len(lengths) > 1:
        raise ValueError(f"Expected arrays of one length in `{names[0]}`; received lengths {lengths}.")
    if lengths[0] < rows:
        raise ValueError(f"Expected at least one batch of {rows} rows in `{names[0]}`; received {lengths[0]} rows.")
    return data, gate.sample(data)


def _checked_few(few, source, size, classes, datasets):
    """Returns the labelled rows of the target as NumPy arrays, checked to be as the source's are."""
    gate.check_count(size, "labelled_target_batch_size", 1)
    if datasets or isinstance(few, tf.data.Dataset):
        raise ValueError("Expected arrays in `source`, `target` and `labelled_target`; received a dataset.")
    if not isinstance(few, tuple) or len(few) != len(source):
        raise ValueError(
            f"Expected `labelled_target` of as many parts as `source`, a tuple of {len(source)}; received {_name(few)}."
        )
    names = ("labelled target", "labels of the target", "weights of the target")
    few, sample = _checked(few, names, 1)
    _check_kinds({"source": source, "labelled_target": few})
    gate.check_classes(sample[1], classes, "labels of the target")
    return few


def _names(source):
    """Returns what errors call the parts of a source."""
    return (
        ("source", "source labels", "source weights")
        if source == "source"
        else (source, f"labels of {source}", f"weights of {source}")
    )


def _check_kinds(two):
    names = " and ".join(f"`{name}`" for name in two)
    kinds = [keras.tree.map_structure(lambda a: f"{a.shape[1:]} {gate.kind(a)}", part) for part in two.values()]
    if kinds[0] != kinds[1]:
        raise ValueError(f"Expected {names} of one structure, shape and dtype; received {kinds[0]} and {kinds[1]}.")


def _name(structure):
    if isinstance(structure, keras.utils.PyDataset):
        return f"{type(structure).__name__}, a keras PyDataset: concatenate the x and y of its batches into arrays"
    if isinstance(structure, list):
        return f"a list of {len(structure)}: write it as a tuple"
    return f"a tuple of {len(structure)}" if isinstance(structure, tuple) else type(structure).__name__
