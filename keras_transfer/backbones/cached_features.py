"""Features of a frozen backbone, computed once and kept: all that training a head alone needs."""

import functools
import hashlib
import json
import math
import operator
import warnings
import zipfile
import zlib
from pathlib import Path

import keras
import ml_dtypes
import numpy as np

from keras_transfer.files import write_whole
from keras_transfer.stored_rows import StoredRows


def cached_features(backbone, data, folder=None, batch_size=64, verbose=True):
    """Runs a backbone over data once, in inference mode, and returns the features as arrays for `fit`.

    With a folder the features are kept on disk, in a file that is named after all that they depend on: the backbone's
    weights and config (preprocessing and dtype policy included, layer names not), the data and its batches. Anything
    else is another file, and a damaged file, or one of another length, is computed anew. To find the file takes a pass
    over the data, but none through the backbone. Where it cannot be written, as on a full disk, a warning says so and
    the features are returned all the same.

    Augmented views of the data are just more rows; augmentation inside the backbone is off.

    Args:
        backbone: `keras.Model` from an input to features `(batch, dim)`. Neither its weights nor its state change.
        data: x, or a tuple `(x, y)` or `(x, y, sample_weight)`; x is an array `(rows, ...)`, a dict of arrays, or
            `kt.datasets.ImageFiles`, which are read batch by batch. Or a finite `tf.data.Dataset` of such x or tuples,
            in batches, or row by row where the backbone states the shape of its input.
        folder: folder that keeps the features, made where missing; None keeps nothing.
        batch_size: int, rows at once; batches of a dataset stay as they are.
        verbose: whether to show the progress.

    Returns:
        The features `(rows, dim)`, or a tuple `(features, y)` or `(features, y, sample_weight)`, as NumPy arrays in the
        order of the data.

    Raises:
        ValueError: if the data is empty, endless, no arrays or of different lengths, or the backbone returns anything
            but finite features `(batch, dim)`.

    Example:

    ```python
    train = kt.backbones.cached_features(backbone, (x, y), folder="cache")
    test = kt.backbones.cached_features(backbone, (x_test, y_test), folder="cache")
    head.fit(*train, epochs=100, validation_data=test)
    model = keras.Sequential([backbone, head])
    ```
    """
    batches, steps = _batches(data, backbone, batch_size)
    if folder is None:
        features, rest = _compute(backbone, batches(), steps, verbose)
    else:
        folder, prefix = Path(folder), _digest(backbone)
        folder.mkdir(parents=True, exist_ok=True)  # now: a folder that cannot be made costs no pass
        digest = hashlib.sha256(prefix)
        rest, rows = [], 0
        for x, *others in _hashed(batches(), digest):
            rest.append(tuple(others))
            rows += len(keras.tree.flatten(x)[0])
        features = _read(folder / f"{digest.hexdigest()}.npz", rows)
        if features is None:
            digest = hashlib.sha256(prefix)  # anew: a shuffled dataset comes in another order
            features, rest = _compute(backbone, _hashed(batches(), digest), steps, verbose)
            file = folder / f"{digest.hexdigest()}.npz"
            try:
                write_whole(file, functools.partial(np.savez, features=features, dtype=features.dtype.name))
            except OSError as error:
                warnings.warn(f"The features are computed, but not kept in {file}: {error}.", stacklevel=2)
    rest = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *rest)
    return (features, *rest) if rest else features


def _compute(backbone, batches, steps, verbose):
    """Returns the features of all rows, and what else is in each batch."""
    features, rest = [], []
    bar = keras.utils.Progbar(steps, verbose=int(verbose))
    for x, *others in batches:
        features.append(_check_features(backbone.predict_on_batch(x), backbone))
        rest.append(tuple(others))
        bar.update(len(features))
    if not features:
        raise ValueError("Expected data of at least 1 row; received an empty dataset.")
    if steps is None:
        bar.update(len(features), finalize=True)
    return np.concatenate(features), rest


def _check_features(features, backbone):
    if keras.tree.is_nested(features) or features.ndim != 2:
        shape = keras.tree.map_structure(lambda output: (None, *output.shape[1:]), features)
        raise ValueError(
            f"Expected the backbone {backbone.name!r} to return features of shape (batch, dim); received shape {shape}."
        )
    if not np.isfinite(features).all():
        bad = (~np.isfinite(features)).any(axis=1).sum()
        raise ValueError(
            f"Expected finite features from the backbone {backbone.name!r}; received NaN or infinite values in {bad} "
            f"of {len(features)} rows of a batch."
        )
    return features


def _batches(data, backbone, batch_size):
    """Returns a function that starts a pass over tuples `(x, ...)` of arrays, and their number, None if unknown."""
    import tensorflow as tf

    if isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("Expected a finite dataset; received one without end. Use its `take`.")
        dataset = data if isinstance(data.element_spec, tuple) else data.map(lambda x: (x,))
        dataset = dataset.batch(batch_size) if _has_rows(dataset, backbone) else dataset
        steps = int(dataset.cardinality())
        return dataset.as_numpy_iterator, steps if steps >= 0 else None
    parts = data if isinstance(data, tuple) else (data,)
    arrays = keras.tree.map_structure(lambda a: a if isinstance(a, StoredRows) else np.asarray(a), parts)
    shapes = [array.shape for array in keras.tree.flatten(arrays)]
    if any(not shape or shape[0] != shapes[0][0] for shape in shapes) or not shapes[0][0]:
        raise ValueError(f"Expected arrays of one length, at least 1 row; received shapes {shapes}.")

    def one_pass():
        for start in range(0, shapes[0][0], batch_size):
            rows = slice(start, start + batch_size)
            yield keras.tree.map_structure(operator.itemgetter(rows), arrays)

    return one_pass, math.ceil(shapes[0][0] / batch_size)


def _has_rows(dataset, backbone):
    """Returns whether the elements of a dataset are rows, which lack the batch axis that the backbone's input has."""
    if not getattr(backbone, "inputs", None):
        return False
    rank = keras.tree.flatten(dataset.element_spec[0])[0].shape.rank
    return rank is not None and rank < len(backbone.inputs[0].shape)


# What a file is named after.


def _hashed(batches, digest):
    """Yields the batches as they are; the digest takes each in."""
    for batch in batches:
        for path, array in keras.tree.flatten_with_path(batch):
            digest.update(repr((path, array.dtype.str, array.shape)).encode())
            digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())  # strings
        yield batch


def _digest(backbone):
    config = keras.saving.serialize_keras_object(backbone)
    names = {name: index for index, name in enumerate(dict.fromkeys(_layer_names(config)))}
    digest = hashlib.sha256(json.dumps(_numbered(config, names), sort_keys=True, default=repr).encode())
    for weight in backbone.weights:
        value = weight.numpy()
        digest.update(repr((value.dtype.str, value.shape)).encode() + value.tobytes())
    return digest.digest()


def _layer_names(config):
    if isinstance(config, dict):
        if "name" in config and {"trainable", "batch_shape", "inbound_nodes"} & set(config):
            yield config["name"]
        config = config.values()
    if not isinstance(config, str):
        for part in config if hasattr(config, "__iter__") else ():
            yield from _layer_names(part)


def _numbered(config, names, key=None):
    """Returns the config with numbers for layer names: made once more, a network has `dense_1` for `dense`."""
    if isinstance(config, dict):
        named = ("name", "keras_history", "input_layers", "output_layers")
        no_matter = ("trainable", "compile_config", "build_config", "token", "traced")  # the last two of one process
        return {
            k: _numbered(v, names, k if k in named else key if key in named[1:] else None)
            for k, v in config.items()
            if k not in no_matter
        }
    if isinstance(config, (list, tuple)):
        return [_numbered(part, names, key) for part in config]
    return names[config] if key and isinstance(config, str) and config in names else config


def _read(file, rows):
    """Returns the features of so many rows in a file; None if there is none, it is damaged, or holds anything else."""
    try:
        with open(file, "rb") as opened, np.load(opened) as content:
            features = content["features"]
            if features.dtype.kind == "V":  # as NumPy reads what it has no type for, bfloat16
                features = features.view(getattr(ml_dtypes, str(content["dtype"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    number = features.dtype.kind == "f" or features.dtype == ml_dtypes.bfloat16
    whole = number and features.ndim == 2 and 0 < rows == len(features) and np.isfinite(features).all()
    return features if whole else None
