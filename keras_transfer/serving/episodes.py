"""Few-shot models for TF Serving: any number of classes and examples, and classes that come later."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_transfer.layers.prototypes import class_means
from keras_transfer.models.meta.prototypical_network import PrototypicalNetwork
from keras_transfer.serving.export import named
from keras_transfer.serving.verify import compare, replay
from keras_transfer.serving.versions import check_target, describe, find_version, write_version


def export_episodes(model, path, x, version=None, *, targets=None, input_name="images", metrics=None):
    """Writes a few-shot model as the SavedModel `<path>/<version>/`, with signatures for any way and shot.

    - `classify_episode`: `support` (rows, ...), `labels` (rows,) int32 and `query` (queries, ...) to `logits`
      (queries, classes), `probabilities`, `class_id` (queries,) int64, -1 for unknown, and, of a
      `PrototypicalNetwork`, `distance` (queries,), the squared distance to the nearest prototype. Labels are 0 to
      classes - 1, each at least once.
    - `embed`, and `serving_default`: `images` to `features` (batch, dim).

    And of a `PrototypicalNetwork`, whose classes are known by their prototypes alone:

    - `prototypes`: `support` and `labels` to `prototypes` (classes, dim) and `counts` (classes,), zeros for labels that
      are not there.
    - `merge`: `prototypes`, `counts`, `new_prototypes` and `new_counts` to the `prototypes` and `counts` of all
      examples together; the two may differ in the number of classes, so that a new class is a new label.
    - `classify`: `prototypes`, `counts` and `query` to what `classify_episode` returns.

    Of a method that adapts its weights (`MAML`, `ANIL`, `Reptile`) there is one signature instead, which is
    `serving_default` too; its inner steps are part of the graph:

    - `adapt_and_classify`: `support`, `labels` and `query` to `logits` (queries, ways), `probabilities` and `class_id`,
      for labels below the number of the network's outputs. With `targets`, for regression, `adapt_and_predict`:
      `support`, `targets` (rows, outputs) and `query` to `prediction` (queries, outputs).

    The server keeps no state: prototypes travel with the caller, to any replica. What is unknown is set by
    `PrototypicalNetwork.calibrate` before the export; otherwise nothing is. TF Serving can batch the requests of
    `embed` and of a `serving_default` that embeds; those of the others must not be batched, since their inputs differ
    in length.

    Args:
        model: built few-shot method; one that adapts has to be compiled with its loss.
        path: directory of the versions; its name is the model's name for the server. Made where missing.
        x: real inputs as clients will send them, an array (rows, ...) of at least 2 rows; see `kt.export`.
        version: positive int; by default one more than the highest version in `path`.
        targets: of x, an array (rows, outputs), where the model adapts to a regression.
        input_name: name of the input of `embed`.
        metrics: what the card shall say about quality; anything JSON can hold.

    Returns:
        The `pathlib.Path` of the version.

    Raises:
        NotADirectoryError, FileExistsError, ValueError, RuntimeError: as `kt.export`.

    Example:

    ```python
    model.calibrate(validation_episodes)
    version = kt.serving.export_episodes(model, "saved_models/letters", images)
    serve = tf.saved_model.load(str(version)).signatures
    known = serve["prototypes"](support=images, labels=labels)
    answers = serve["classify"](query=others, **known)["class_id"]
    ```
    """
    path = pathlib.Path(path)
    check_target(path, version)
    if hasattr(model, "encoder") and not model.encoder.built:
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    (rows,) = named(x, input_name).values()
    if len(rows) < 2:
        raise ValueError(f"Expected at least 2 rows in `x`, a support and a query; received {len(rows)}.")
    signatures = episode_signatures(model, input_name, regression=targets is not None)
    labels = np.arange(len(rows), dtype="int32") % 2 if targets is None else targets
    requests = _requests(signatures, rows[:-1], labels[:-1], rows[-1:], input_name)
    card = {
        "model": type(model).__name__,
        "inputs": {s: {name: describe(value) for name, value in request.items()} for s, request in requests.items()},
        "outputs": {s: sorted(signatures[s](_tensors(request))) for s, request in requests.items()},
        "classes": None,
        "metrics": metrics or {},
    }
    return write_version(path, version, signatures, requests, [model], card)


def verify_episodes(path, model, episodes, tolerance=1e-5, *, input_name="images"):
    """Reloads an export of `export_episodes` in a fresh process and compares every signature with `model` in this one.

    Args:
        path: one version, or the directory of the versions: then the highest.
        model: the model that was exported.
        episodes: list of `(support, labels, query)`, of any way, shot and number of queries; targets in place of labels
            where the model adapts to a regression.
        tolerance: largest absolute difference that passes.
        input_name: as given to `export_episodes`.

    Returns:
        A `Verification`.

    Raises:
        As `verify`.
    """
    regression = np.issubdtype(np.asarray(episodes[0][1]).dtype, np.floating)
    version, signatures = find_version(path), episode_signatures(model, input_name, regression)
    requests = {
        f"episode_{number}/{signature}": request
        for number, (support, labels, query) in enumerate(episodes)
        for signature, request in _requests(signatures, support, labels, query, input_name).items()
    }
    ((exported, digests),) = replay([(version, requests)])
    return compare(version, signatures, requests, exported, digests, [model], tolerance)


def episode_signatures(model, input_name="images", regression=False):
    """Returns `{signature: function}` from a dict of inputs to a dict of outputs; see `export_episodes`."""
    if hasattr(model, "adapt"):
        adapt = _adapting(model, regression)
        return {"serving_default": adapt, "adapt_and_predict" if regression else "adapt_and_classify": adapt}

    def embed(inputs):
        return {"features": tf.cast(model.infer(inputs[input_name]), tf.float32)}

    def classify_episode(inputs):
        labels, classes = _checked(inputs["support"], inputs["labels"])
        present = tf.unique(labels).y
        message = "Expected `labels` from 0 to classes - 1, each at least once."
        with tf.control_dependencies([tf.debugging.assert_equal(tf.size(present), classes, message)]):
            support, query = (model.infer(inputs[name]) for name in ("support", "query"))
        if isinstance(model, PrototypicalNetwork):
            return answer(model.logits(*class_means(support, labels, classes), query))
        return answer(model.logits(support, labels, query, classes))

    def answer(logits):
        answers = _answers(logits)
        if isinstance(model, PrototypicalNetwork):
            distance = -tf.reduce_max(logits, -1)
            unknown = distance > model.unknown_distance
            answers["class_id"] = tf.where(unknown, tf.constant(-1, tf.int64), answers["class_id"])
            answers["distance"] = distance
        return answers

    def prototypes(inputs):
        labels, classes = _checked(inputs["support"], inputs["labels"])
        means, counts = class_means(model.infer(inputs["support"]), labels, classes)
        return {"prototypes": means, "counts": counts}

    def merge(inputs):
        old, new = ((inputs[f"{age}prototypes"], inputs[f"{age}counts"]) for age in ("", "new_"))
        classes = tf.maximum(*(tf.shape(counts)[0] for _, counts in (old, new)))

        def sums(means, counts):
            more = classes - tf.shape(counts)[0]
            return tf.pad(means * counts[:, None], [[0, more], [0, 0]]), tf.pad(counts, [[0, more]])

        (old_sum, old_count), (new_sum, new_count) = sums(*old), sums(*new)
        counts = old_count + new_count
        return {"prototypes": (old_sum + new_sum) / tf.maximum(counts, 1.0)[:, None], "counts": counts}

    def classify(inputs):
        return answer(model.logits(inputs["prototypes"], inputs["counts"], model.infer(inputs["query"])))

    functions = {"serving_default": embed, "embed": embed, "classify_episode": classify_episode}
    if isinstance(model, PrototypicalNetwork):
        functions |= {"prototypes": prototypes, "merge": merge, "classify": classify}
    return functions


def _adapting(model, regression):
    """The function that adapts a model to one support and answers the queries."""

    def prediction(inputs, answers):
        episode = {"support": (inputs["support"][None], answers[None]), "query": inputs["query"][None]}
        return tf.cast(model(episode, training=False)["prediction"][0], tf.float32)

    def adapt_and_predict(inputs):
        return {"prediction": prediction(inputs, inputs["targets"])}

    def adapt_and_classify(inputs):
        labels, classes = _checked(inputs["support"], inputs["labels"])
        ways = model.infer(inputs["query"]).shape[-1]  # known while tracing; nothing runs
        message = f"Expected `labels` below {ways}, the number of the network's outputs."
        with tf.control_dependencies([tf.debugging.assert_less_equal(classes, ways, message)]):
            labels = tf.identity(labels)
        return _answers(prediction(inputs, labels))

    return adapt_and_predict if regression else adapt_and_classify


def _answers(logits):
    return {"logits": logits, "probabilities": tf.nn.softmax(logits), "class_id": tf.argmax(logits, -1)}


def _checked(support, labels):
    """The labels and the number of classes, of an episode that is not empty and whose labels fit."""
    rows = tf.shape(support)[0]
    checks = [
        tf.debugging.assert_positive(rows, "Expected a support of at least 1 row."),
        tf.debugging.assert_equal(tf.size(labels), rows, "Expected one label for each row of `support`."),
        tf.debugging.assert_non_negative(labels, "Expected `labels` of at least 0."),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        labels = tf.identity(labels)
    return labels, tf.reduce_max(labels) + 1


def _requests(signatures, support, labels, query, input_name):
    """A request to each signature."""
    support, labels, query = np.asarray(support), np.asarray(labels), np.asarray(query)
    if "adapt_and_predict" in signatures:
        return dict.fromkeys(signatures, {"support": support, "targets": labels.astype("float32"), "query": query})
    labels = labels.astype("int32")
    episode = {"support": support, "labels": labels, "query": query}
    if "adapt_and_classify" in signatures:
        return dict.fromkeys(signatures, episode)
    requests = {"serving_default": {input_name: query}, "embed": {input_name: query}, "classify_episode": episode}
    if "prototypes" in signatures:
        examples = {"support": support, "labels": labels}
        known = {name: value.numpy() for name, value in signatures["prototypes"](_tensors(examples)).items()}
        more = {f"new_{name}": value[:1] for name, value in known.items()}
        requests |= {"prototypes": examples, "merge": {**known, **more}, "classify": {**known, "query": query}}
    return requests


def _tensors(request):
    return {name: tf.constant(value) for name, value in request.items()}
