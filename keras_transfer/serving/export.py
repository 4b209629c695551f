"""From a model to a SavedModel version that TF Serving loads."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.serving.versions import check_target, describe, write_version


def export(
    model, path, x, version=None, *, classes=None, preprocessing=None, embed=None, input_name="images", metrics=None
):
    """Writes `model` as the SavedModel `<path>/<version>/`, which TF Serving loads and any client can read.

    Signatures, all with a dynamic batch and float32 outputs whatever the dtype policy:

    - `serving_default`: `logits` (batch, classes), `probabilities` (batch, classes), `class_id` (batch,) int64 and,
      where `classes` are given, `class_name` (batch,) strings. A head of one logit z is binary: `probabilities` is
      (batch, 2), sigmoid(-z) and sigmoid(z). A model with an `encoder`, no `head` and no `classes` serves `features`.
    - `embed`: `features` (batch, dim), where the model has an `encoder` or `embed` is given.

    A model with `heads` for several tasks serves each task's prediction under the task's name, in `serving_default` all
    of them, and in a signature of the task's name that one alone: no other head is computed. A task that has `classes`
    adds `<task>_probabilities`, `<task>_class_id` and `<task>_class_name`.

    Only the variables that these signatures use are stored, each once. The version is written to a hidden directory
    beside it, whose name no server takes for a version, and renamed when complete; a failure leaves nothing behind.
    `assets.extra/`, the place the SavedModel format keeps for files that its loaders ignore, holds `card.json` and,
    where tensorflow-serving-api is installed, warm-up requests with the first 4 rows of `x`, one per signature.

    Args:
        model: built model. `model(x)` gives logits (batch, classes); see above for encoders alone.
        path: directory of the versions; its name is the model's name for the server. Made where missing.
        x: real inputs as clients will send them: an array (batch, ...), or a dict or tuple of arrays. They set the
            names (dict), shapes and dtypes of the signatures (float64 becomes float32), the ranges in the card and the
            warm-up requests, so pass rows that show the range.
        version: positive int; by default one more than the highest version in `path`.
        classes: class names in the order of the logits; two for a head of one logit. For several tasks a dict of the
            names of those tasks that are classifications.
        preprocessing: from `x` to the model's input, stored in the graph: raw uint8 images in, say. A layer or any
            callable of TensorFlow or `keras.ops`; a layer, where it holds weights or lookup tables.
        embed: network from the model's input to features; by default `model.encoder` where there is one.
        input_name: name of the one input; a tuple of inputs is named `<input_name>_0`, `<input_name>_1`, ...
        metrics: what the card shall say about quality, `{"target_accuracy": 0.93}`; anything JSON can hold.

    Returns:
        The `pathlib.Path` of the version.

    Raises:
        NotADirectoryError: `path`, or a parent of it, is a file.
        FileExistsError: the version exists.
        ValueError: unbuilt model; a version that is no positive int; as many `classes` as the head has not; output
            that is not one tensor (batch, ..., dim).
        RuntimeError: Keras runs on another backend than TensorFlow.

    Example:
    ```python
    to_unit = keras.layers.Rescaling(1 / 255)
    kt.export(model, "saved_models/digits", x_test, classes="0123456789", preprocessing=to_unit)
    kt.serving.verify("saved_models/digits", model, x_test[:8], preprocessing=to_unit)
    ```
    """
    path = pathlib.Path(path)
    check_target(path, version)
    if not model.built:
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    classes = _strings(classes)
    inputs = named(x, input_name)
    signatures = signatures_of(model, type(x), list(inputs), classes, preprocessing, embed)
    one_row = {name: tf.constant(value[:1]) for name, value in inputs.items()}
    outputs = {name: signature(one_row) for name, signature in signatures.items()}  # before the work: it runs
    card = {
        "model": type(model).__name__,
        "inputs": {name: describe(value) for name, value in inputs.items()},
        "outputs": {name: sorted(values) for name, values in outputs.items()},
        "classes": classes,
        "metrics": metrics or {},
    }
    owners = [part for part in (preprocessing, model, embed) if isinstance(part, keras.Layer)]
    return write_version(path, version, signatures, dict.fromkeys(signatures, inputs), owners, card)


def signatures_of(model, kind, names, classes, preprocessing, embed):
    """Returns `{signature: function}` of dicts of the inputs `names` to dicts of outputs; `kind` is the type of x."""
    encoder, head = getattr(model, "encoder", None), getattr(model, "head", None)
    embed = embed or encoder

    def prepared(inputs):
        x = {name: inputs[name] for name in names}  # a plain dict: TensorFlow wraps those it passes
        if not issubclass(kind, dict):
            x = kind(x.values()) if issubclass(kind, (tuple, list)) else x[names[0]]
        return x if preprocessing is None else preprocessing(x)

    def run(network, inputs):
        output = network(prepared(inputs), training=False)
        if not tf.is_tensor(output) or output.shape.rank < 2:
            raise ValueError(f"Expected one tensor (batch, ..., dim) from {network!r}; received {output!r}.")
        return tf.cast(output, tf.float32)

    def features(inputs):
        return {"features": run(embed, inputs)}

    def predict(inputs):
        if encoder is not None and head is None and classes is None:
            return {"features": run(model, inputs)}
        logits = run(model, inputs)
        return {"logits": logits, **_classified(logits, classes)}

    def predict_tasks(inputs, tasks=None):
        found = model.infer(prepared(inputs), training=False, tasks=tasks)
        outputs = {task: tf.cast(prediction, tf.float32) for task, prediction in found.items()}
        for task in set(found) & set(classes or {}):
            parts = _classified(outputs[task], classes[task])
            outputs |= {f"{task}_{part}": value for part, value in parts.items()}
        return outputs

    signatures = {"serving_default": predict}
    if hasattr(model, "heads"):
        _check_task_names(model.heads, classes)
        alone = {task: lambda inputs, task=task: predict_tasks(inputs, [task]) for task in model.heads}
        signatures = {"serving_default": predict_tasks, **alone}
    return signatures if embed is None else {**signatures, "embed": features}


def _classified(logits, classes):
    """Probabilities and the class of logits; with class names also its name."""
    # One logit z is the pair (0, z): its softmax is sigmoid(-z), sigmoid(z).
    scores = logits if logits.shape[-1] > 1 else tf.concat([tf.zeros_like(logits), logits], -1)
    if classes is not None and len(classes) != scores.shape[-1]:
        raise ValueError(f"Expected {scores.shape[-1]} classes, as the head has; received {len(classes)}.")
    outputs = {"probabilities": tf.nn.softmax(scores), "class_id": tf.argmax(scores, -1)}
    return outputs if classes is None else {**outputs, "class_name": tf.gather(classes, outputs["class_id"])}


def _check_task_names(tasks, classes):
    if classes is not None and not (isinstance(classes, dict) and set(classes) <= set(tasks)):
        raise ValueError(f"Expected `classes` as a dict of tasks among {list(tasks)}; received {classes}.")
    taken = set(tasks) & {"serving_default", "embed"}
    if taken:
        raise ValueError(f"Expected tasks that do not bear the name of a signature; received {sorted(taken)}.")


def _strings(classes):
    if isinstance(classes, dict):
        return {task: _strings(names) for task, names in classes.items()}
    return None if classes is None else [str(name) for name in classes]


def named(x, names):
    """Returns `x` as a dict of arrays; `names` is a list of names, or the one name to make them from."""
    parts = list(x) if isinstance(x, (tuple, list)) else [x]
    if isinstance(names, str):
        names = [names] if len(parts) == 1 else [f"{names}_{i}" for i in range(len(parts))]
    arrays = x if isinstance(x, dict) else dict(zip(names, parts, strict=True))
    return {name: _array(value) for name, value in arrays.items()}


def _array(value):
    value = np.asarray(value)
    if value.dtype == object:  # strings
        return np.array(value.tolist())
    return value.astype("float32") if value.dtype == "float64" else value
