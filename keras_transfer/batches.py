"""The gate of batches that go into training: labels that fit a loss, and numbers that are finite."""

import keras
import numpy as np
from keras import ops

from keras_transfer import keras_internals
from keras_transfer.checks import check_finite, is_float, same_shape


def check_shape(y, y_pred, loss, name="labels"):
    """Raises an error for labels whose shape a loss would broadcast, or cannot read.

    Shapes are known while a step is traced too. A loss of the user's own may read labels of any shape, of as many rows.

    Args:
        y: labels, a tensor; anything else passes.
        y_pred: predictions, a tensor; anything else passes.
        loss: name, function or `keras.losses.Loss`; anything else passes.
        name: str, what an error calls the labels.

    Raises:
        ValueError: if they are strings, or of another shape than those that the loss reads beside the predictions.
    """
    if not (hasattr(y, "shape") and hasattr(y_pred, "shape")) or not (isinstance(loss, str) or callable(loss)):
        return
    if keras.backend.standardize_dtype(y.dtype) == "string":
        raise ValueError(f"Expected numbers in the {name}; received strings. {_NUMBERED}")
    labels, predictions = tuple(y.shape), tuple(y_pred.shape)
    if not labels or not predictions or not same_shape(labels[:1], predictions[:1]):
        raise ValueError(
            f"Expected {name} with one row for each prediction; received {name} of shape {labels} beside predictions "
            f"of shape {predictions}."
        )
    loss = keras_internals.resolved_loss(loss, y, y_pred)
    if keras_internals.reads_class_numbers(loss):
        fitting, told = [predictions[:-1], (*predictions[:-1], 1)], "that are one number of a class for each row"
    elif keras_internals.reads_one_shape(loss):
        fitting, told = (
            [predictions, *([predictions[:-1]] if predictions[-1] == 1 else [])],
            "of the predictions' shape",
        )
        fitting += [(*predictions, 1)]
    else:
        return
    if not any(same_shape(labels, one) for one in fitting):
        raise ValueError(
            f"Expected {name} {told}, as the compiled loss {loss.name!r} reads them; received {name} of shape {labels} "
            f"beside predictions of shape {predictions}."
        )


def check_labels(values, name="labels", whole=False, classes=None, missing=None):
    """Raises an error for labels in arrays that are no numbers, not finite, or no numbers of classes.

    Args:
        values: labels, an array or a tensor with values; anything else passes.
        name: str, what an error calls them.
        whole: bool, whether they are to be numbers of classes, from 0 on where `classes` are known.
        classes: int, the number of classes, or None.
        missing: number that stands for no label, or None.

    Raises:
        ValueError: as said above.
    """
    values = in_memory(values)
    if values is None:
        return
    if _is_text(values):
        raise ValueError(f"Expected numbers in the {name}; received strings. {_NUMBERED}")
    real = is_float(values)
    if real:
        values = values[~np.isnan(values)] if missing is not None and missing != missing else values
        if not np.isfinite(values).all():
            raise ValueError(
                f"Expected finite {name}; received {np.size(values) - np.isfinite(values).sum()} that are NaN or "
                "infinite."
            )
    if missing is not None:
        values = values[values != missing]
    if not whole or not values.size:
        return
    if real and (values != np.floor(values)).any():
        fraction = values[values != np.floor(values)].flat[0]
        raise ValueError(f"Expected {name} that are numbers of classes; received {fraction:g}, no whole number.")
    if classes is not None and (values.min() < 0 or values.max() >= classes):
        raise ValueError(
            f"Expected {name} from 0 to {classes - 1}, one of {classes} classes each; received {int(values.min())} to "
            f"{int(values.max())}."
        )


def check_inputs(x, networks):
    """Raises an error for arrays of inputs that are not finite, or strings where no network reads any.

    Args:
        x: array, or a nested structure of arrays; anything else passes.
        networks: list of the networks that may read them.

    Raises:
        ValueError: as said above.
    """
    if not isinstance(x, (np.ndarray, dict, list, tuple)) and not ops.is_tensor(x):
        return
    for path, part in keras.tree.flatten_with_path(x):
        name, values = _place(path), in_memory(part)
        if values is None:
            continue
        if _is_text(values) and _numbers_alone(networks):
            raise ValueError(f"Expected numbers in `{name}`, as the networks read them; received strings.")
        check_finite(values, name)


def in_memory(values):
    """Returns an array, or the values of a tensor, as NumPy's; None for anything else, such as a tensor of a graph."""
    if isinstance(values, np.ndarray):
        return values
    return np.asarray(values) if ops.is_tensor(values) and hasattr(values, "numpy") else None


_NUMBERED = "`np.unique(labels, return_inverse=True)` numbers them."


def check_no_labels(model, y):
    """Raises an error if labels come to a method that would not use them."""
    if y is None:
        return
    instead = " `kt.models.SupCon` is the method on views that takes labels." if "view_1" in model.streams else ""
    raise ValueError(
        f"Expected batches without labels, which {type(model).__name__} does not learn from; received some.{instead}"
    )


def _place(path):
    """The name of a part of `x`: a stream, and what of it."""
    first, *more = path or ("x",)
    return str(first) + "".join(f"[{key!r}]" for key in more)


def _is_text(values):
    return values.dtype.kind in "SUTO"


def _numbers_alone(networks):
    """Whether what the networks read is known, and no strings."""
    known = [getattr(network, "inputs", None) for network in networks if isinstance(network, keras.Model)]
    return all(known) and not any("string" in str(one.dtype) for inputs in known for one in inputs)
