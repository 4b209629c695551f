"""From a model to a SavedModel version that TF Serving loads."""

import pathlib

import keras
import tensorflow as tf

from keras_transfer.model import signatures_of
from keras_transfer.serving.versions import check_target, describe, write_version
from keras_transfer.signatures import Signature, embedded, named, reader


def export(
    model, path, x, version=None, *, classes=None, preprocessing=None, embed=None, input_name="images", metrics=None
):
    """Writes `model` as the SavedModel `<path>/<version>/`, which TF Serving loads and any client can read.

    What is served is what the model's `signatures` say, all with a first axis of any length and float32 outputs
    whatever the dtype policy:

    - `serving_default`: `logits` (batch, classes), `probabilities` (batch, classes), `class_id` (batch,) int64 and,
      where `classes` are given, `class_name` (batch,) strings. A head of one logit z is binary: `probabilities` is
      (batch, 2), sigmoid(-z) and sigmoid(z). A method with an `encoder`, no `head` and no `classes` serves `features`.
      A Keras model with a dict of outputs serves each under its key.
    - `embed`: `features` (batch, dim), of a method with an `encoder`, or where `embed` is given.
    - Of several tasks `serving_default` answers all, each prediction under the task's name, and a signature of the
      task's name that one alone: no other head is computed. A task that has `classes` adds `<task>_probabilities`,
      `<task>_class_id` and `<task>_class_name`.
    - Of few-shot methods `serving_default` embeds, and `classify_episode` takes `support` (rows, ...), `labels` (rows,)
      int32 and `query` (queries, ...) to `logits` (queries, classes), `probabilities` and `class_id`; labels are 0 to
      classes - 1, each at least once, of any number of classes. `PrototypicalNetwork` adds `distance` (queries,), the
      squared distance to the nearest prototype, answers -1 for unknown once it is calibrated, and lets classes come
      later: `prototypes` takes `support` and `labels` to `prototypes` (classes, dim) and `counts` (classes,), zeros for
      labels that are not there; `merge` takes `prototypes`, `counts`, `new_prototypes` and `new_counts` to those of all
      examples together, where a new class is a new label; `classify` takes `prototypes`, `counts` and `query`.
    - Of methods that adapt their weights (`MAML`, `ANIL`, `Reptile`) `adapt_and_classify`, which is `serving_default`
      too, takes `support`, `labels` and `query` to `logits` (queries, ways), `probabilities` and `class_id`; or, for a
      regression, `adapt_and_predict` takes `support`, `targets` (rows, outputs) and `query` to `prediction`. The
      gradient steps are part of the graph.

    The server keeps no state: prototypes travel with the caller. TF Serving can batch the requests of signatures that
    the card calls `rowwise`; those of episodes must not be batched, since their inputs differ in length.

    Only the variables that these signatures use are stored, each once. The version is written to a hidden directory
    beside it, whose name no server takes for a version, and renamed when complete; a failure leaves nothing behind.
    `assets.extra/`, the place the SavedModel format keeps for files that its loaders ignore, holds `card.json` and,
    where tensorflow-serving-api is installed, warm-up requests with the first 4 rows of `x`, one per signature.

    Args:
        model: built `keras.Model`. A method that adapts has to be compiled with its loss.
        path: directory of the versions; its name is the model's name for the server. Made where missing.
        x: real inputs as clients will send them: an array (batch, ...), or a dict or tuple of arrays. They set the
            names (dict), shapes and dtypes of the signatures (float64 becomes float32), the ranges in the card and the
            warm-up requests, so pass rows that show the range. For a few-shot method also one episode,
            `{"support": (rows, labels), "query": rows}`, without which labels are made up for the request; labels of a
            float dtype are the targets of a regression.
        version: positive int; by default one more than the highest version in `path`.
        classes: class names in the order of the logits; two for a head of one logit. For several tasks a dict of the
            names of those tasks that are classifications.
        preprocessing: from `x` to the model's input, stored in the graph: raw uint8 images in, say. A layer or any
            callable of TensorFlow or `keras.ops`; a layer, where it holds weights or lookup tables.
        embed: network from the model's input to features, in place of what the method's own `embed` serves.
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
    if not (model.built or (model.layers and all(layer.built for layer in model.layers))):
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    classes = _strings(classes)
    signatures = served_signatures(model, x, classes, preprocessing, embed, input_name)
    card = {
        "model": type(model).__name__,
        "input_name": input_name,
        "inputs": {s: {name: describe(value) for name, value in of.request.items()} for s, of in signatures.items()},
        "outputs": {s: sorted(of.answer(_first_row(of))) for s, of in signatures.items()},  # before the work: it runs
        "rowwise": [s for s, of in signatures.items() if of.rowwise],
        "classes": classes,
        "metrics": metrics or {},
    }
    owners = [model, *(part for part in (preprocessing, embed) if isinstance(part, keras.Layer))]
    return write_version(path, version, signatures, owners, card)


def served_signatures(model, x, classes, preprocessing, embed, input_name):
    """Returns `{name: Signature}` of all that `export` serves; see there."""
    signatures = signatures_of(model, x, classes, preprocessing, input_name)
    if embed is None:
        return signatures
    request = named(x, input_name)
    read = reader(x, request, preprocessing)
    features = Signature(lambda inputs: embedded(embed(read(inputs), training=False)), request)
    return {**signatures, "embed": features}


def _first_row(signature):
    rows = 1 if signature.rowwise else None
    return {name: tf.constant(value[:rows]) for name, value in signature.request.items()}


def _strings(classes):
    if isinstance(classes, dict):
        return {task: _strings(names) for task, names in classes.items()}
    return None if classes is None else [str(name) for name in classes]
