"""From a model to a SavedModel version that TF Serving loads."""

import pathlib
import time

import keras
import numpy as np

from keras_transfer.files import to_json
from keras_transfer.serving.served import answered_names, served_signatures
from keras_transfer.serving.verify import verify_folder
from keras_transfer.serving.versions import check_target, describe, write_version


def export(
    model,
    path,
    x,
    version=None,
    *,
    classes=None,
    outputs=None,
    preprocessing=None,
    embed=None,
    input_name=None,
    metrics=None,
    verify=True,
    tolerance=1e-5,
):
    """Writes `model` as the SavedModel `<path>/<version>/`, which TF Serving loads and any client can read.

    What is served is what the model's `signatures` say, all with a first axis of any length and float32 outputs
    whatever the dtype policy. What the model's output is, its user states by `classes` and `outputs`:

    - Neither: `serving_default` answers `prediction`, as it is, of any shape (batch, ...). A method with an `encoder`
      and no `head` serves `features`. A Keras model with a dict of outputs serves each under its key.
    - `classes`, or `outputs="logits"`: `logits` (batch, classes), `probabilities` (batch, classes), `class_id` (batch,)
      int64 and, where `classes` are given, `class_name` (batch,) strings. A head of one logit z is binary:
      `probabilities` is (batch, 2), sigmoid(-z) and sigmoid(z). A model that ends in a softmax or a sigmoid is refused.
    - `outputs="probabilities"`: the same without `logits`, of a model that ends in a softmax, or of one column p in a
      sigmoid: then `probabilities` is 1 - p and p.
    - `outputs="multi_label"`: `probabilities` (batch, labels), each a sigmoid of its own, and the `logits` where the
      model does not end in that sigmoid itself.
    - A row whose probabilities are NaN, as of an input that is NaN, has the `class_id` -1 and the `class_name` "".
    - `embed`: `features` (batch, dim), of a method with an `encoder`, or where `embed` is given.
    - Of several tasks `serving_default` answers all, each prediction under the task's name, and a signature of the
      task's name that one alone: no other head is computed. A task that has `classes` or `outputs` adds
      `<task>_probabilities`, `<task>_class_id` and `<task>_class_name`.
    - Of few-shot methods `serving_default` embeds, and `classify_episode` takes `support` (rows, ...), `labels` (rows,)
      int32 and `query` (queries, ...) to `logits` (queries, classes), `probabilities` and `class_id`; labels are 0 to
      classes - 1, each at least once, of any number of classes. `PrototypicalNetwork` adds `distance` (queries,), the
      squared distance to the nearest prototype, answers -1 for unknown once it is calibrated, and lets classes come
      later: `prototypes` takes `support` and `labels` to `prototypes` (classes, dim) and `counts` (classes,), zeros for
      labels that are not there; `merge` takes `prototypes`, `counts`, `new_prototypes` and `new_counts` to those of all
      examples together, where a new class is a new label; `classify` takes `prototypes`, `counts` and `query`.
    - Of methods that adapt their weights (`MAML`, `ANIL`, `Reptile`) `adapt_and_classify`, which is `serving_default`
      too, takes `support`, `labels` and `query` to `logits` (queries, ways), `probabilities` and `class_id`, where
      `classes` or `outputs` state that. Otherwise `adapt_and_predict` takes `support`, `labels`, or for a regression
      `targets` (rows, outputs), and `query` to `prediction`. The gradient steps are part of the graph.
    - Of zero-shot models `serving_default` answers by the stored classes, and by -1 and "" for unknown ones;
      `embed_class` takes descriptions of one class to `class_vector` (1, dim), and `score` and `score_all` answer by
      `classes` of the request, a matrix for each row or one for all; `kt.serving.add_classes` stores more.
    - Of `kt.models.adabn_by_request` `adapt_and_predict` answers as `serving_default` does, BatchNormalization by the
      mean and variance of the request's own rows.

    Each signature refuses a request whose inputs have another rank or other sizes behind the first axis than `x`, and
    labels that would make more classes than the request has rows; of `prototypes`, than rows and 4,096 earlier classes.

    The server keeps no state: prototypes travel with the caller. TF Serving can batch the requests of signatures that
    the card calls `rowwise`; those of episodes must not be batched, since their inputs differ in length.

    Only the variables that these signatures use are stored, each once. The version is written to a hidden directory
    beside it, whose name no server takes for a version, verified there on the first 16 rows of `x`, and renamed: what a
    server sees is complete and has been compared with the model in another process, see `kt.serving.verify`, whose
    time is printed. A failure leaves nothing behind; what a process that was killed left, the next export of that model
    removes.
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
        version: positive int, below 2**63; by default one more than the highest version in `path`. If another export
            takes it in the meantime, this one gets the next number, and a warning says so.
        classes: class names in the order of the logits; two for a head of one logit. For several tasks a dict of the
            names of those tasks that are classifications.
        outputs: what the output is: None, `"logits"`, `"probabilities"`, `"multi_label"`; or
            `"multi_label_probabilities"` for a sigmoid that the network hides in a layer's own `call`. For several
            tasks a dict; one for all that have `classes`.
        preprocessing: from `x` to the model's input, stored in the graph: raw uint8 images in, say. A layer or any
            callable of TensorFlow or `keras.ops`; a layer, where it holds weights or lookup tables.
        embed: network from the model's input to features, in place of what the method's own `embed` serves.
        input_name: name of the one input, by default `text` for strings and `images` for all else; a tuple of inputs
            is named `<input_name>_0`, `<input_name>_1`, ...
        metrics: what the card shall say about quality, `{"target_accuracy": 0.93}`; anything JSON can hold. NaN and
            infinity become null.
        verify: bool, whether the version is verified before it is published; or a list of further inputs, each like
            `x`, on which it is verified too, such as episodes of other ways and shots. The first verification of a
            process starts another one, which takes some seconds. The card keeps what was found.
        tolerance: what passes, as for `kt.serving.verify`.

    Returns:
        The `pathlib.Path` of the version.

    Raises:
        NotADirectoryError: `path`, or a parent of it, is a file.
        FileExistsError: the version exists.
        ValueError: unbuilt model; a version that is no positive int; as many `classes` as the head has not; output
            that is not one tensor, or not what it is stated to be; outputs or weights that are NaN or infinite; two
            outputs of one name; an export that differs from the model.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Example:
    ```python
    to_unit = keras.layers.Rescaling(1 / 255)
    kt.export(model, "saved_models/digits", x_test, classes="0123456789", preprocessing=to_unit)
    ```
    """
    path = pathlib.Path(path)
    check_target(path, version)
    if not (model.built or (model.layers and all(layer.built for layer in model.layers))):
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    classes = _strings(classes)
    input_name = input_name or ("text" if _is_text(x) else "images")
    signatures = served_signatures(model, x, classes, preprocessing, embed, input_name, outputs)
    owners = [model, *(part for part in (preprocessing, embed) if isinstance(part, keras.Layer))]
    card = {
        "model": type(model).__name__,
        "input_name": input_name,
        "inputs": {s: {name: describe(value) for name, value in of.request.items()} for s, of in signatures.items()},
        "outputs": answered_names(signatures, owners),  # before the work: it runs
        "rowwise": [s for s, of in signatures.items() if of.rowwise],
        "classes": classes,
        "own_classes": {s: of.classes for s, of in signatures.items() if of.classes is not None},
        "stated": outputs,
        "metrics": metrics or {},
    }
    to_json(card)
    told, more = "", []
    for inputs in verify if isinstance(verify, (list, tuple)) else ():
        others = served_signatures(model, inputs, classes, preprocessing, embed, input_name, outputs)
        more.append({name: other.request for name, other in others.items()})

    def check(folder):
        nonlocal told
        if not verify and not more:
            return None
        start = time.perf_counter()
        found = verify_folder(folder, signatures, owners, tolerance, more)
        largest, seconds = max(found.differences.values()), time.perf_counter() - start
        told = f"verified in {seconds:.1f} s, largest difference {largest:.1e}"
        return {"differences": found.differences, "stored": found.stored}

    written = write_version(path, version, signatures, owners, card, check)
    if told:
        print(f"{written}: {told}")
    return written


def _is_text(x):
    part = x[0] if isinstance(x, list) and x else x
    return not isinstance(part, (dict, tuple)) and np.asarray(part).dtype.kind in "SUO"


def _strings(classes):
    if isinstance(classes, dict):
        return {task: _strings(names) for task, names in classes.items()}
    names = None if classes is None else [str(name) for name in classes]
    twice = sorted({name for name in names or () if names.count(name) > 1})
    if twice:
        raise ValueError(f"Expected a name of its own for each class; received {', '.join(twice)} more than once.")
    return names
