"""Networks that take the columns of a table as they are in its file: numbers, names, gaps and pictures."""

import re

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import keras_transfer as kt

COLUMNS, PICTURES = "columns", "pictures"  # what an encoder takes
UNITS, DROPOUT = 128, 0.2  # of its two layers


def served_name(column):
    """Returns the name of a column or task as it is served: letters, digits and `_` alone."""
    return re.sub(r"\W+", "_", column, flags=re.ASCII)


def raw_inputs(table, picture=None):
    """Returns a table's inputs as clients send them, `{served name: array (rows, ...)}`, pictures read.

    Args:
        table: `own_table.Table`.
        picture: name of the column of pictures, or None.
    """
    names = [served_name(name) for name in (*table.inputs, *([picture] if picture else []), *table.labels)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Expected columns that differ in letters and digits, as which they are served; not {twice}.")
    columns = {served_name(name): table.inputs[name] for name in sorted(table.inputs)}
    images = {} if table.images is None else {served_name(picture): table.images[:]}
    return {**columns, **images}


def preparation(table):
    """Returns the network from the columns of a table, tensors `(batch,)`, to vectors `(batch, dim)`; None of none.

    Numbers are standardised; a missing one is the mean, and an entry of its own says so. Names are one-hot; a missing
    one shares an entry with those that the table does not have.

    Args:
        table: `own_table.Table` of the rows that train.
    """
    raw, filled, features, seen = {}, {}, {}, {}
    for column in sorted(table.inputs):
        values, name = table.inputs[column], served_name(column)
        text = values.dtype == object
        raw[name] = keras.Input((), dtype="string" if text else "float32", name=name)
        cells = ops.expand_dims(raw[name], -1)
        if text:
            # Not "" among the names: the last of a vocabulary, it would be lost in a `.keras` file (Keras 3.15).
            filled[name], seen[name] = cells, np.where(values == "", next(value for value in values if value), values)
            features[name] = keras.utils.FeatureSpace.string_categorical(num_oov_indices=1, output_mode="one_hot")
            continue
        missing, mean = np.isnan(values), float(np.nanmean(values))
        gone = ops.isnan(cells)
        filled[name], seen[name] = ops.where(gone, mean, cells), np.where(missing, mean, values)
        features[name] = keras.utils.FeatureSpace.float_normalized()
        if missing.any():
            filled[f"{name}.missing"], seen[f"{name}.missing"] = ops.cast(gone, "float32"), missing.astype("float32")
            features[f"{name}.missing"] = keras.utils.FeatureSpace.float()
    if not raw:
        return None
    space = keras.utils.FeatureSpace(features, output_mode="concat")
    space.adapt(tf.data.Dataset.from_tensor_slices(seen).batch(1024))
    inputs, ordered = space.get_inputs(), sorted(filled)
    encoded = keras.Model({name: inputs[name] for name in ordered}, space.get_encoded_features(), name="feature_space")
    return keras.Model(raw, encoded({name: filled[name] for name in ordered}), name="preparation")


def prepared(raw, prepare, backbone, picture):
    """Returns what an encoder takes: `columns` `(rows, dim)`, and `pictures` as features, or as they are.

    Args:
        raw: what `raw_inputs` returned.
        prepare: what `preparation` returned.
        backbone: network from pictures to features that stays as it is; None: pictures go into the encoder.
        picture: served name of the column of pictures, or None.
    """
    x = {}
    if prepare is not None:
        x[COLUMNS] = prepare.predict({name: raw[name] for name in raw if name != picture}, batch_size=1024, verbose=0)
    if picture is not None:
        x[PICTURES] = raw[picture] if backbone is None else kt.backbones.cached_features(backbone, raw[picture])
    return x


def encoder(x):
    """Returns a new network from what `prepared` returned to features `(batch, UNITS)`; pictures go through a CNN."""
    inputs = {name: keras.Input(x[name].shape[1:], name=name) for name in sorted(x)}
    parts = []
    for name, part in inputs.items():
        if len(part.shape) == 4:
            part = kt.backbones.small_cnn(tuple(part.shape[1:]))(part)
        elif name == PICTURES:
            part = layers.BatchNormalization()(part)
        parts.append(part)
    y = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    for _ in range(2):
        y = layers.Dropout(DROPOUT)(layers.Dense(UNITS, activation="relu")(y))
    return keras.Model(inputs, y, name="encoder")


def from_raw(raw, prepare, backbone, picture, network):
    """Returns a network from raw inputs to the features of an encoder: the whole way, as it is served.

    Args:
        raw: what `raw_inputs` returned.
        prepare: see `prepared`.
        backbone: see `prepared`.
        picture: see `prepared`.
        network: network that `encoder` returned.
    """
    inputs, x = {}, {}
    if prepare is not None:
        inputs |= {name: keras.Input((), dtype=one.dtype, name=name) for name, one in prepare.input.items()}
        x[COLUMNS] = prepare(dict(inputs))
    if picture is not None:
        inputs[picture] = images = keras.Input(raw[picture].shape[1:], name=picture)
        x[PICTURES] = images if backbone is None else backbone(images)
    inputs = {name: inputs[name] for name in sorted(inputs)}
    return keras.Model(inputs, network({name: x[name] for name in sorted(x)}), name="from_raw")
