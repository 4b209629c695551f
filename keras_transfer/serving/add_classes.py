"""More classes for an export that tells them by descriptions, without training: a new version beside the others."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_transfer.models.text.label_descriptions import answered, similarities
from keras_transfer.serving.served import answered_names
from keras_transfer.serving.verify import verify_folder
from keras_transfer.serving.versions import check_target, describe, find_version, read_card, write_version
from keras_transfer.signatures import Signature, plain_array

_NEEDED = ("embed", "embed_class", "score", "score_all")
_KEPT = ("class_matrix", "bias", "scale", "least_similarity")


def add_classes(path, descriptions, version=None, tolerance=1e-5):
    """Writes a version of an exported `kt.models.LabelDescriptions` that knows more classes; nothing is trained.

    The latest version embeds the descriptions itself: the model is not needed. New classes come behind the others and
    have the mean of their biases; all else stays. As by `kt.export`, the version appears whole and verified, or not at
    all.

    Args:
        path: directory of the versions.
        descriptions: dict of the names of further classes to lists of what describes them.
        version: positive int; by default one more than the highest.
        tolerance: what the verification in a fresh process passes, as for `kt.serving.verify`.

    Returns:
        The `pathlib.Path` of the new version.

    Raises:
        FileNotFoundError: if there is no version.
        ValueError: if the latest is no export of that method, a class is there already, or one has no description.

    Example:

    ```python
    kt.serving.add_classes("saved_models/questions", {"number": ["How many are there?", "How much is it?"]})
    ```
    """
    path = pathlib.Path(path)
    check_target(path, version)
    latest = find_version(path)
    card, loaded = read_card(latest), tf.saved_model.load(str(latest))
    lacking = [name for name in _NEEDED if name not in loaded.signatures]
    if lacking:
        raise ValueError(
            f"Expected an export of `LabelDescriptions`; received {latest}, of {card['model']}, without the signatures "
            f"{', '.join(lacking)}."
        )
    before = card["own_classes"]["serving_default"]
    _check(descriptions, before)
    key = card["input_name"]
    vectors, rows = [], []
    for texts in descriptions.values():
        rows += list(texts)
        vector = loaded.signatures["embed_class"](**{key: tf.constant(plain_array(texts))})["class_vector"]
        vectors.append(vector.numpy())
    grown = _Grown(loaded, vectors)
    signatures = _signatures(grown, key, [*before, *map(str, descriptions)], plain_array((rows * 16)[:16]))
    card = {
        **{name: card[name] for name in ("model", "input_name", "classes", "stated", "metrics")},
        "inputs": {s: {name: describe(value) for name, value in of.request.items()} for s, of in signatures.items()},
        "outputs": answered_names(signatures, [grown]),
        "rowwise": [name for name, of in signatures.items() if of.rowwise],
        "own_classes": {"serving_default": signatures["serving_default"].classes},
    }

    def check(folder):
        found = verify_folder(folder, signatures, [grown], tolerance)
        return {"differences": found.differences, "stored": found.stored}

    return write_version(path, version, signatures, [grown], card, check)


class _Grown(tf.Module):
    """A loaded export, and its class matrix with further rows."""

    def __init__(self, loaded, vectors):
        super().__init__()
        stored = {
            v.name.partition(":")[0].rpartition("/")[2]: v for v in loaded.signatures["serving_default"].variables
        }
        matrix, bias, scale, least = (stored[name].numpy() for name in _KEPT)
        self.loaded = loaded
        self.class_matrix = tf.Variable(np.concatenate([matrix, *vectors]), trainable=False, name="class_matrix")
        bias = np.append(bias, np.full(len(vectors), bias.mean())).astype("float32")
        self.bias = tf.Variable(bias, trainable=False, name="bias")
        self.scale, self.least_similarity = stored["scale"], stored["least_similarity"]


def _signatures(grown, key, names, rows):
    """What the loaded export answers, with the new class matrix in the place of its own."""
    served, request = grown.loaded.signatures, {key: rows}

    def serving_default(inputs):
        found = similarities(served["embed"](**inputs)["features"], grown.class_matrix)
        return answered(found, grown.scale, grown.bias, grown.least_similarity, names)

    def as_before(name):
        return lambda inputs: served[name](**inputs)

    matrix = grown.class_matrix.numpy()
    each = np.repeat(matrix[None], len(rows), axis=0)
    shapes = {"classes": (None, None, matrix.shape[-1])}
    return {
        "serving_default": Signature(serving_default, request, classes=names),
        "embed": Signature(as_before("embed"), request),
        "embed_class": Signature(as_before("embed_class"), request, rowwise=False),
        "score": Signature(as_before("score"), {**request, "classes": each}, shapes=shapes),
        "score_all": Signature(as_before("score_all"), {**request, "classes": matrix}, rowwise=False),
    }


def _check(descriptions, before):
    if not isinstance(descriptions, dict) or not descriptions:
        raise ValueError(f"Expected `descriptions` as a dict of further classes; received {descriptions!r}.")
    for name, texts in descriptions.items():
        if str(name) in before:
            raise ValueError(f"Expected further classes; received {name!r}, which is there already.")
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"Expected a list of descriptions of the class {name!r}; received {texts!r}.")
