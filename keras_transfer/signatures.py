"""What a server answers: named functions on named inputs, each with a request that shows what clients send."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import is_float

KINDS = ("logits", "probabilities", "multi_label", "multi_label_probabilities")


class Signature(NamedTuple):
    """A function that is served.

    Attributes:
        answer: function from a dict of named tensors to a dict of named tensors. TensorFlow traces it.
        request: `{input: array}`, real inputs: their names, dtypes and shapes behind a first axis of any length are
            those of the signature. It warms the server up, and an export is verified on it.
        rowwise: bool, whether each row is answered by itself. If so, a request of one row is valid, and a server may
            join the requests of several clients; an episode is no such request.
        expected: function from a request to what `answer` shall return to it, or a part of that, by way of the model's
            own `predict`; None: there is no such way. An export is verified against it too.
        classes: list of names of the classes that `class_id` numbers here, where they are not those of the export.
        shapes: `{input: shape}` of inputs with more axes of any length, None, than the first.
    """

    answer: Callable
    request: dict
    rowwise: bool = True
    expected: Callable | None = None
    classes: list | None = None
    shapes: dict | None = None

    def shape(self, name):
        """Returns the shape of an input, None for axes of any length."""
        return (self.shapes or {}).get(name, (None, *self.request[name].shape[1:]))


def named(x, names="images"):
    """Returns the inputs of a model as a dict of arrays.

    Args:
        x: array `(rows, ...)`, or a dict, tuple or list of arrays.
        names: list of names; or one name: of the one input, or with `_0`, `_1`, ... of each of several. A dict has
            its own.

    Returns:
        `{name: array}`, float64 as float32.
    """
    parts = list(x) if isinstance(x, (tuple, list)) else [x]
    if isinstance(names, str):
        names = [names] if len(parts) == 1 else [f"{names}_{i}" for i in range(len(parts))]
    arrays = x if isinstance(x, dict) else dict(zip(names, parts, strict=True))
    return {name: plain_array(value) for name, value in arrays.items()}


def plain_array(value):
    """Returns a NumPy array as servers take it: strings with a fixed width, float64 as float32."""
    value = np.asarray(value)
    if value.dtype == object:  # strings
        return np.array(value.tolist())
    return value.astype("float32") if value.dtype == "float64" else value


def reader(x, names, prepare=None):
    """Returns the function from a dict of named tensors to what the model takes: the structure of `x`, prepared.

    Args:
        x: inputs as given to `named`.
        names: list of the names that `named` gave them.
        prepare: function from raw inputs to the model's input, or None.
    """
    kind, names = type(x), list(names)

    def read(inputs):
        parts = {name: inputs[name] for name in names}  # a plain dict: TensorFlow wraps those it passes
        if not issubclass(kind, dict):
            parts = kind(parts.values()) if issubclass(kind, (tuple, list)) else parts[names[0]]
        return parts if prepare is None else prepare(parts)

    return read


def own_prediction(model, x):
    """Returns what the model's own `predict` says of an input, all rows in one batch."""
    rows = max(1, len(keras.tree.flatten(x)[0]))
    return model.predict(x, batch_size=rows, verbose=0)


def embedded(features):
    """Returns what is served of an encoder's output, one tensor `(batch, ..., dim)`: `features`, float32."""
    return {"features": float_output(features, "features")}


def predicted(output, classes=None, stated=None):
    """Returns what is served of a model's output.

    Args:
        output: tensor `(batch, ...)`, or a dict of such for each task.
        classes: list of class names, of a dict of outputs `{task: list}`; or None.
        stated: what `kt.model.stated_outputs` returned.

    Returns:
        Dict of tensors, those of floats float32: of one tensor `prediction`, as it is, or what `classified` returns;
        of a dict each output under its own name, with `<task>_probabilities`, `<task>_class_id` and
        `<task>_class_name` for those that are classifications.

    Raises:
        ValueError: if an output is no tensor `(batch, ...)`, the classes do not fit, the values are not what they are
            said to be, or two outputs have one name.
    """
    if not isinstance(output, dict):
        if isinstance(stated, dict):
            raise ValueError(f"Expected a dict of outputs, one for each of {list(stated)}; received {output!r}.")
        return (
            {"prediction": _as_it_is(output, "prediction")} if stated is None else classified(output, classes, stated)
        )
    if isinstance(stated, str) and classes is None:
        stated = dict.fromkeys(output, stated)
    elif not isinstance(stated, (dict, type(None))) or not set(stated or {}) <= set(output):
        raise ValueError(f"Expected `classes` as a dict of tasks among {list(output)}; received {classes}.")
    served = {task: _as_it_is(value, task) for task, value in output.items()}
    for task, kind in (stated or {}).items():
        parts = classified(output[task], (classes or {}).get(task), kind, task)
        parts = {f"{task}_{part}": value for part, value in parts.items() if part != "logits"}
        twice = sorted(set(parts) & set(served))
        if twice:
            raise ValueError(
                f"Expected outputs of different names; received {twice}, which the classes of {task!r} are served as, "
                "and which another output is called. Give one of them another name."
            )
        served |= parts
    return served


def _as_it_is(output, name):
    """Returns one tensor `(batch, ...)`, floats as float32."""
    if not hasattr(output, "shape") or len(output.shape) < 1:
        raise ValueError(f"Expected one tensor (batch, ...) as `{name}`; received {output!r}.")
    return ops.cast(output, "float32") if is_float(output) else output


def float_output(output, name):
    """Returns an output as float32, after a check that it is one tensor `(batch, ..., dim)`."""
    if not hasattr(output, "shape") or len(output.shape) < 2:
        raise ValueError(f"Expected one tensor (batch, ..., dim) as `{name}`; received {output!r}.")
    return ops.cast(output, "float32")


def classified(output, classes=None, kind="logits", name=None):
    """Returns the probabilities and the class of a classifier's output, and with class names also its name.

    Args:
        output: tensor `(batch, ..., classes)`, logits unless `kind` says otherwise. One column is binary: a logit z is
            the pair (0, z), whose softmax is sigmoid(-z), sigmoid(z); a probability p the pair 1 - p, p.
        classes: list of class names in the order of the columns, two for one column of classes; or None.
        kind: one of `KINDS`.
        name: what it is called in errors.

    Returns:
        Dict of `logits` where the output is such; `probabilities` `(batch, ..., classes)`; and, where classes exclude
        one another, `class_id` int64, -1 where a probability is NaN; and, with names, `class_name` strings, "" there.

    Raises:
        ValueError: if there are more or fewer names than classes, or known values are not of that kind.
    """
    values = float_output(output, name or ("probabilities" if "probabilities" in kind else "logits"))
    _check_values(values, kind, name or "the output")
    labels = kind.startswith("multi_label")
    number = 2 if values.shape[-1] == 1 and not labels else values.shape[-1]
    if classes is not None and len(classes) != number:
        raise ValueError(f"Expected {number} classes, as the head has; received {len(classes)}.")
    if labels:
        return {"probabilities": values} if "probabilities" in kind else _with(values, ops.sigmoid(values))
    zeros = ops.zeros_like(values)
    if kind == "probabilities":
        scores = values if values.shape[-1] != 1 else ops.concatenate([1.0 - values, values], axis=-1)
        answers = {"probabilities": scores}
    else:
        scores = values if values.shape[-1] != 1 else ops.concatenate([zeros, values], axis=-1)
        answers = _with(values, ops.softmax(scores))
    chosen = ops.cast(ops.argmax(scores, axis=-1), "int64")
    unknown = ops.any(ops.isnan(answers["probabilities"]), axis=-1)
    answers["class_id"] = ops.where(unknown, ops.cast(-1, "int64"), chosen)
    if classes is None:
        return answers
    import tensorflow as tf

    return answers | {"class_name": tf.where(unknown, "", tf.gather(list(classes), chosen))}


def _with(logits, probabilities):
    return {"logits": logits, "probabilities": probabilities}


def _check_values(values, kind, name):
    """Raises an error where known values cannot be what they are said to be; warns where they hardly can."""
    import tensorflow as tf

    if not tf.executing_eagerly() or not hasattr(values, "numpy"):
        return  # a graph is being made
    values = values.numpy().astype("float64")
    if not values.size or not np.isfinite(values).all():
        return  # told elsewhere
    between = values.min() >= -1e-3 and values.max() <= 1 + 1e-3
    sums = values.shape[-1] > 1 and np.abs(values.sum(-1) - 1).max() <= 1e-2
    softmax = between and sums and values.size > values.shape[-1]  # of one row it may be chance
    if kind == "logits" and softmax:
        raise ValueError(
            f"Expected {name} to be logits; received rows of values between 0 and 1 that sum to 1, as a softmax makes "
            'them. Pass `outputs="probabilities"`.'
        )
    if "probabilities" in kind and not between:
        raise ValueError(
            f"Expected {name} to be probabilities, between 0 and 1; received values from {values.min():.3g} to "
            f"{values.max():.3g}. Pass `outputs` as {'logits' if kind == 'probabilities' else 'multi_label'!r}."
        )
    if kind == "probabilities" and values.shape[-1] > 1 and not sums:
        raise ValueError(
            f"Expected {name} to be probabilities of classes that exclude one another, which sum to 1; received rows "
            f'that sum to {values.sum(-1).min():.3g} to {values.sum(-1).max():.3g}. Pass `outputs="multi_label"` if '
            "they are independent of one another."
        )
    if kind.startswith("multi_label") and softmax:
        raise ValueError(
            f"Expected {name} to be of labels that are independent of one another; received rows of values between 0 "
            'and 1 that sum to 1, as a softmax makes them. Pass `outputs="probabilities"`.'
        )
    if kind in ("logits", "multi_label") and between and values.size >= 8:
        other = "probabilities" if kind == "logits" else "multi_label_probabilities"
        warnings.warn(
            f"Expected {name} to be logits; received values between {values.min():.3g} and {values.max():.3g} alone, "
            f"as probabilities are. If they are, pass `outputs={other!r}`.",
            stacklevel=2,
        )
