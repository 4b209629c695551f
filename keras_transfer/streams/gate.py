"""The gate of all streams, and of callbacks that take data: rows, labels, datasets and sizes that are what they say."""

import keras
import numpy as np
import tensorflow as tf

from keras_transfer import keras_internals
from keras_transfer.checks import check_finite, is_float
from keras_transfer.stored_rows import StoredRows

_NUMBERS = "biuf"
_STRINGS = "SUT"


def arrays(data, name, stored=False):
    """Returns data as NumPy arrays of one length, in the dtype that they train in, after a check.

    Lists of numbers or strings become arrays, strings of any width one dtype (object), float64 `keras.config.floatx()`.

    Args:
        data: array `(rows, ...)`, NumPy's or another framework's, or a dict or tuple of such arrays, nested at will.
        name: str, what an error calls the data.
        stored: bool, whether rows that are read where they are needed (`kt.datasets.ImageFiles`) pass, as they are.

    Returns:
        The same structure of NumPy arrays.

    Raises:
        ValueError: if something is no array of numbers or strings, such as a sparse matrix or a dataset; has values
            that are NaN or infinite; or if the arrays differ in length. It says what helps.
    """
    converted = _converted(data, name, stored)
    lengths = {len(array) for array in keras.tree.flatten(converted)}
    if len(lengths) > 1:
        raise ValueError(f"Expected arrays of one length in `{name}`; received lengths {sorted(lengths)}.")
    return converted


def stored_rows(rows, name):
    """Returns rows that are read where they are needed, after a check that the shape of each is known.

    Args:
        rows: `kt.datasets.ImageFiles`, or other `StoredRows`.
        name: str, what an error calls them.
    """
    if not isinstance(rows, StoredRows):
        raise ValueError(
            f"Expected `{name}` to be kt.datasets.ImageFiles; received {_article(type(rows).__name__)}. Arrays go into "
            "`fit` as they are."
        )
    if None in rows.shape:
        raise ValueError(f"Expected `{name}` with an `image_size`; received images of unknown size.")
    if not len(rows):
        raise ValueError(f"Expected at least one row in `{name}`; received none.")
    return rows


def sample(rows, number=64):
    """Returns a structure of arrays with some rows of those that are stored: enough to see their range.

    Args:
        rows: structure of arrays and `StoredRows`.
        number: int, rows to read.
    """

    def some(array):
        places = np.linspace(0, len(array) - 1, min(number, len(array))).astype(int)
        return array[places] if isinstance(array, StoredRows) else array

    return keras.tree.map_structure(some, rows)


def check_augmentation(augment):
    """Raises ValueError for what is no augmentation of a batch, or draws once for all of it.

    Args:
        augment: layer or function.
    """
    if not callable(augment):
        raise ValueError(f"Expected `augment` to be a layer or a function; received {augment!r}.")
    parts = keras_internals.all_layers(augment) if isinstance(augment, keras.Layer) else ()
    for layer in parts:
        if isinstance(layer, keras.layers.RandomCrop):
            raise ValueError(
                f"Expected an augmentation that draws for each image; received {layer.name!r}, a "
                "keras.layers.RandomCrop, which crops a whole batch at one place. Use `kt.layers.RandomResizedCrop`."
            )


def length(rows):
    """Returns the number of rows of a structure of arrays."""
    return len(keras.tree.flatten(rows)[0])


def kind(array):
    """Returns the dtype of an array as a str: `string` for strings of any width."""
    return "string" if array.dtype.kind in _STRINGS + "O" else str(array.dtype)


def check_range(first, second, names):
    """Raises ValueError if the largest absolute values of two structures of arrays differ by more than ten times.

    Args:
        first: structure of arrays.
        second: the same structure of arrays.
        names: pair of str, what an error calls them.
    """
    for a, b in zip(keras.tree.flatten(first), keras.tree.flatten(second)):
        if not (a.size and b.size) or not all(is_float(one) or one.dtype.kind in "iu" for one in (a, b)):
            continue
        limits = [(float(one.min()), float(one.max())) for one in (a, b)]
        largest = [max(abs(low), abs(high)) for low, high in limits]
        if max(largest) > 10.0 * min(largest):
            (low_a, high_a), (low_b, high_b) = limits
            raise ValueError(
                f"Expected `{names[0]}` and `{names[1]}` of the same value range; received [{low_a:g}, {high_a:g}] and "
                f"[{low_b:g}, {high_b:g}]. Rescale one of them; `check_range=False` lets ids and heavy tails pass."
            )


def check_count(value, name, least):
    """Raises ValueError unless a value is an integer of at least `least`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"Expected `{name}` to be an integer of at least {least}; received {value!r}.")


def integer_labels(labels, name):
    """Returns labels as an integer array `(rows,)` after a check; an error says how they become one.

    Args:
        labels: array or list.
        name: str, what an error calls them.
    """
    array, helps = arrays(labels, name), None
    if isinstance(array, (dict, tuple)):
        raise ValueError(f"Expected `{name}` to be one array of integer labels; received a {type(array).__name__}.")
    if kind(array) == "string":
        helps = f"`np.unique({name}, return_inverse=True)` numbers them"
    elif array.ndim == 2 and array.shape[1] > 1:
        helps = f"of one-hot rows take `{name}.argmax(axis=-1)`"
    elif array.ndim != 1:
        helps = f"use `{name}.reshape(-1)`" if array.size == len(array) else "one label is one number"
    elif array.dtype.kind not in "iu":
        helps = f'use `{name}.astype("int32")`' if (array == np.floor(array)).all() else "they are no whole numbers"
    if helps:
        received = f"{kind(_plain(labels))} of shape {array.shape}"
        raise ValueError(f"Expected `{name}` (rows,) of integer labels; received {received}: {helps}.")
    return array


def known_labels(labels, name):
    """Returns labels as `integer_labels` does, after a check that none is below 0, as where it stands for none.

    Args:
        labels: array or list.
        name: str, what an error calls them.
    """
    array = integer_labels(labels, name)
    missing = int((array < 0).sum())
    if missing:
        raise ValueError(
            f"Expected a label of each row in `{name}`; received {missing} below 0, which stand for none and would "
            "be a class of their own: leave these rows out."
        )
    return array


def check_classes(labels, classes, name):
    """Raises ValueError unless labels fit the number of classes, or are strings.

    Args:
        labels: array of integers, or of floats that are whole numbers, from 0 to `classes - 1`; or of floats
            `(rows, classes)` from 0 to 1. Or, where `classes` is None, any structure of arrays of numbers.
        classes: int, or None.
        name: str, what an error calls them.
    """
    for array in keras.tree.flatten(labels):
        if kind(array) == "string":
            raise ValueError(
                f"Expected numbers in `{name}`; received strings: `np.unique(y, return_inverse=True)` numbers them."
            )
    if classes is None:
        return
    check_count(classes, "classes", 1)
    if isinstance(labels, (dict, tuple)):
        raise ValueError(
            f"Expected one array of labels to compare with `classes`; received a {type(labels).__name__} in `{name}`."
        )
    if labels.ndim == 2 and labels.shape[1] != classes and _in_columns(labels, classes):
        raise ValueError(
            f"Expected one column for each of {classes} classes in `{name}`; received shape {labels.shape}."
        )
    if is_float(labels) and labels.ndim == 2 and labels.shape[1] == classes:
        low, high, expected = 0, 1, "values from 0 to 1 in one column for each class"
    else:
        low, high, expected = 0, classes - 1, f"labels from 0 to {classes - 1}"
        if is_float(labels) and (labels != np.floor(labels)).any():
            fraction = labels[labels != np.floor(labels)].flat[0]
            raise ValueError(f"Expected {expected}; received {fraction:g}, which is no whole number, in `{name}`.")
    if labels.min() < low or labels.max() > high:
        raise ValueError(
            f"Expected {expected}; received labels from {float(labels.min()):g} to {float(labels.max()):g}."
        )


def check_unbatched(dataset, name):
    """Raises ValueError if the elements of a dataset are no tensors, or are batches.

    Batches are told by a first axis that all parts of an element share and that either has no fixed length, or was
    made by `batch`.

    Args:
        dataset: `tf.data.Dataset`.
        name: str, what an error calls it.
    """
    specs = keras.tree.flatten(dataset.element_spec)
    for spec in specs:
        if not isinstance(spec, tf.TensorSpec):
            raise ValueError(f"Expected dense tensors in `{name}`; received {_name_of_spec(spec)}.")
    shapes = [spec.shape for spec in specs]
    if not all(shape.rank for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        return
    if _comes_from_batch(dataset) or (len(shapes) > 1 and shapes[0][0] is None):
        found = " and ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(
            f"Expected an unbatched dataset in `{name}`; received elements of shape {found}, which are batches: call "
            "`.unbatch()` on it."
        )


def first_batch(dataset, name, rows):
    """Returns the first batch of an unbatched dataset, in arrays, after a check that there is one.

    Args:
        dataset: `tf.data.Dataset`.
        name: str, what an error calls it.
        rows: int, rows of a batch.
    """
    check_unbatched(dataset, name)
    try:
        batch = next(dataset.batch(rows).as_numpy_iterator(), None)
    except tf.errors.InvalidArgumentError as error:
        found = error.message.split("}} ")[-1].split(" [Op:")[0]
        raise ValueError(f"Expected rows of one shape in `{name}`, resized or padded; received: {found}") from error
    if batch is None or length(batch) < rows:
        found = "an empty dataset" if batch is None else f"a dataset of {length(batch)} rows"
        raise ValueError(f"Expected at least one batch of {rows} rows in `{name}`; received {found}.")
    return batch


def _converted(data, name, stored=False):
    if isinstance(data, (dict, tuple)) and not data:
        raise ValueError(f"Expected at least one array in `{name}`; received {data!r}.")
    if isinstance(data, dict):
        return {key: _converted(value, f"{name}[{key!r}]", stored) for key, value in data.items()}
    if isinstance(data, tuple):
        parts = [_converted(value, f"{name}[{index}]", stored) for index, value in enumerate(data)]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    if stored and isinstance(data, StoredRows):
        return stored_rows(data, name)
    _refuse_what_is_no_array(data, name)
    try:
        array = _plain(data)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Expected rows of one shape in `{name}`; received: {error}") from error
    if not array.ndim:
        raise ValueError(f"Expected an array (rows, ...) in `{name}`; received {_article(type(data).__name__)}.")
    if array.dtype.kind in _STRINGS:
        return array.astype(object)
    if array.dtype.kind == "O":
        others = {type(value).__name__ for value in array.flat if not isinstance(value, (str, bytes))}
        if others:
            raise ValueError(
                f"Expected numbers or strings in `{name}`; received objects of {', '.join(sorted(others))}: use "
                '`np.stack` for rows of arrays, fill in missing values, or `.astype("float32")`.'
            )
        return array
    if array.dtype.kind not in _NUMBERS and not is_float(array):
        raise ValueError(f"Expected numbers or strings in `{name}`; received {array.dtype}.")
    if array.dtype.kind == "f" and array.itemsize > 4:
        array = array.astype(keras.config.floatx(), copy=False)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    check_finite(array, name)
    return array


def _plain(data):
    return data if isinstance(data, np.ndarray) else np.asarray(data)


def _refuse_what_is_no_array(data, name):
    received, helps = _article(type(data).__name__), None
    if isinstance(data, tf.data.Dataset):
        received = "a tf.data.Dataset"
        helps = "of an unbatched one `np.stack(list(dataset.as_numpy_iterator()))` is the array"
    elif isinstance(data, StoredRows):
        helps = "`rows[:]` reads all of it into memory"
    elif isinstance(data, keras.utils.PyDataset):
        received += ", a keras PyDataset"
        helps = "it yields batches; `np.concatenate` those of x, and those of y, into arrays"
    elif isinstance(data, tf.SparseTensor):
        helps = "use `tf.sparse.to_dense`"
    elif isinstance(data, tf.RaggedTensor):
        helps = "use `.to_tensor()`"
    elif isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        helps = "use `.filled(value)`: the mask would be lost"
    elif hasattr(data, "toarray"):
        received += ", a sparse matrix"
        helps = "use `.toarray()`"
    elif isinstance(data, list) and _with_axes(data):
        received = f"a list of {type(_with_axes(data)[0]).__name__}"
        helps = "use `np.stack(...)` for rows, and a tuple or a dict for several inputs"
    elif data is None or callable(data) or isinstance(data, (set, frozenset)):
        helps = "pass an array"
    elif hasattr(data, "__iter__") and not hasattr(data, "__array__") and not isinstance(data, (list, str, bytes)):
        helps = "pass what it yields, as one array"
    if helps:
        raise ValueError(f"Expected arrays in `{name}`; received {received}: {helps}.")


def _with_axes(rows):
    """The elements of a list that are arrays with axes, or dicts; a list of numbers or of lists of them has none."""
    return [row for row in rows if isinstance(row, dict) or (hasattr(row, "shape") and len(row.shape))]


def _in_columns(labels, classes):
    """Whether labels `(rows, n)` have a column for each class, rather than numbers of classes in n places."""
    if labels.shape[1] == 1:
        return False
    if is_float(labels):
        return True
    binary = (labels >= 0).all() and (labels <= 1).all()
    return classes > 2 and binary and (labels.sum(axis=1) == 1).all()


def _comes_from_batch(dataset):
    """Whether elements were made by `batch` and not taken apart again; read from the datasets that it was made of."""
    name = type(dataset).__name__.lower()
    if any(word in name for word in ("unbatch", "flatmap", "interleave")):
        return False
    return "batch" in name or any(map(_comes_from_batch, keras_internals.made_of(dataset)))


def _name_of_spec(spec):
    if isinstance(spec, tf.RaggedTensorSpec):
        return "ragged tensors: map `.to_tensor()` over it"
    if isinstance(spec, tf.SparseTensorSpec):
        return "sparse tensors: map `tf.sparse.to_dense` over it"
    if isinstance(spec, tf.data.DatasetSpec):
        return "datasets, as `window` makes them: use `.flat_map(lambda window: window)`"
    return str(spec)


def _article(name):
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
