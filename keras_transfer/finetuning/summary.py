"""What of a model trains, as a table."""

import math

import keras
import numpy as np

from keras_transfer.keras_internals import all_layers, own_parameters, own_state

COLUMNS = "{:<44.44} {:<24.24} {:>12} {:>12}  {}"


def trainable_parameters(model):
    """Returns the number of parameters that train.

    Args:
        model: built `keras.Model` or layer.
    """
    return _size(model.trainable_weights)


def summary(model, print_fn=print):
    """Prints which layers train, one row for each layer with weights of its own.

    A row shows the beginning of the paths of its variables, as patterns see them; a layer whose variables have paths
    of several beginnings, such as that around a TF Hub module, has a row for each. Two or more neighbouring layers of
    which nothing moves share one row. Notes say what BatchNormalization does in training, the rank of a LoRA adapter,
    and whether it is dead: Keras loads both its factors as zeros, and then neither can learn.

    Args:
        model: built `keras.Model` or layer.
        print_fn: function that is called with each line.
    """
    trainable = {id(variable) for variable in model.trainable_weights}
    print_fn(COLUMNS.format("path", "class", "parameters", "trainable", "note").rstrip())
    still = []
    for layer in all_layers(model):
        own = own_parameters(layer) + own_state(layer)
        if not own:
            continue
        note, moves = _note(layer)
        for path, variables in _by_path(layer, own).items():
            trains = [variable for variable in variables if id(variable) in trainable]
            row = (path, type(layer).__name__, _size(variables), _size(trains), note)
            if trains or moves:
                _print_still(still, print_fn)
                _print_row(row, print_fn)
                still = []
            else:
                still.append(row)
    _print_still(still, print_fn)
    total, count = _size(model.weights), trainable_parameters(model)
    share = f"{100 * count / total:.2f} % of the parameters" if total else "no parameters; the model is not built"
    print_fn(COLUMNS.format("total", "", f"{total:,}", f"{count:,}", share))


def _by_path(layer, variables):
    """Returns `{path: variables}`, one path unless the layer's variables lie deeper than itself."""
    own, paths = layer.path or layer.name, {}
    for variable in variables:
        paths.setdefault(variable.path.rpartition("/")[0], []).append(variable)
    deeper = any(path.partition(f"{layer.name}/")[2] for path in paths)
    return paths if deeper else {own: variables}


def _note(layer):
    """Returns the note of a layer, and whether it needs a row of its own although nothing of it trains."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return ("statistics move in training", True) if layer.trainable else ("statistics frozen", False)
    if getattr(layer, "lora_enabled", False):
        factors = [variable for variable in own_parameters(layer) if variable.name.startswith("lora_")]
        if not any(np.any(factor.numpy()) for factor in factors):
            return "LoRA is dead: both factors are zero after Keras reloaded it; merge and attach again", True
        return f"LoRA rank {layer.lora_rank}", False
    return "", False


def _print_still(rows, print_fn):
    if len(rows) < 2:
        for row in rows:
            _print_row(row, print_fn)
        return
    notes = sorted({row[4] for row in rows if row[4]})
    path = f"{rows[0][0]} ... {rows[-1][0]}"
    _print_row((path, f"{len(rows)} layers", sum(row[2] for row in rows), 0, ", ".join(notes)), print_fn)


def _print_row(row, print_fn):
    path, kind, parameters, trains, note = row
    print_fn(COLUMNS.format(path, kind, f"{parameters:,}", f"{trains:,}", note).rstrip())


def _size(variables):
    return sum(math.prod(variable.shape) for variable in variables)
