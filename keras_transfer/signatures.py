"""What a server answers: named functions on named inputs, each with a request that shows what clients send."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops


class Signature(NamedTuple):
    """A function that is served.

    Attributes:
        answer: function from a dict of named tensors to a dict of named tensors. TensorFlow traces it.
        request: `{input: array}`, real inputs: their names, dtypes and shapes behind a first axis of any length are
            those of the signature. It warms the server up, and an export is verified on it.
        rowwise: bool, whether each row is answered by itself. If so, a request of one row is valid, and a server may
            join the requests of several clients; an episode is no such request.
    """

    answer: Callable
    request: dict
    rowwise: bool = True


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


def embedded(features):
    """Returns what is served of an encoder's output, one tensor `(batch, ..., dim)`: `features`, float32."""
    return {"features": float_output(features, "features")}


def predicted(output, classes=None):
    """Returns what is served of a model's output.

    Args:
        output: tensor `(batch, ..., dim)`, or a dict of such for each task.
        classes: list of class names, of a dict of outputs `{task: list}` for those that are classifications; or None.

    Returns:
        Dict of float32 tensors: of one tensor `logits` and what `classified` returns; of a dict each output under its
        own name, with `<task>_probabilities`, `<task>_class_id` and `<task>_class_name` for those
        that have classes.

    Raises:
        ValueError: if an output is no tensor of at least two axes, or the classes do not fit.
    """
    if not isinstance(output, dict):
        logits = float_output(output, "logits")
        return {"logits": logits, **classified(logits, classes)}
    if classes is not None and not (isinstance(classes, dict) and set(classes) <= set(output)):
        raise ValueError(f"Expected `classes` as a dict of tasks among {list(output)}; received {classes}.")
    served = {task: float_output(value, task) for task, value in output.items()}
    for task in [task for task in output if task in (classes or {})]:
        parts = classified(served[task], classes[task])
        served |= {f"{task}_{part}": value for part, value in parts.items()}
    return served


def float_output(output, name):
    """Returns an output as float32, after a check that it is one tensor `(batch, ..., dim)`."""
    if not hasattr(output, "shape") or len(output.shape) < 2:
        raise ValueError(f"Expected one tensor (batch, ..., dim) as `{name}`; received {output!r}.")
    return ops.cast(output, "float32")


def classified(logits, classes=None):
    """Returns the probabilities and the class of logits, and with class names also its name.

    Args:
        logits: tensor `(batch, ..., classes)`. One logit z is binary: the pair (0, z), whose softmax is sigmoid(-z),
            sigmoid(z).
        classes: list of class names in the order of the logits, two for one logit; or None.

    Returns:
        Dict of `probabilities` `(batch, ..., classes)`, `class_id` int64 and, with names, `class_name` strings.

    Raises:
        ValueError: if there are more or fewer names than classes.
    """
    scores = logits if logits.shape[-1] != 1 else ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    if classes is not None and len(classes) != scores.shape[-1]:
        raise ValueError(f"Expected {scores.shape[-1]} classes, as the head has; received {len(classes)}.")
    answers = {"probabilities": ops.softmax(scores), "class_id": ops.cast(ops.argmax(scores, axis=-1), "int64")}
    if classes is None:
        return answers
    import tensorflow as tf

    return answers | {"class_name": tf.gather(list(classes), answers["class_id"])}
