"""More classes for an export that tells them by descriptions, without training: a new version beside the others."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_transfer.class_matrix import answered, checked_descriptions, class_logits
from keras_transfer.serving.served import answered_names
from keras_transfer.serving.verify import verify_folder
from keras_transfer.serving.versions import check_target, describe, find_version, read_card, write_version
from keras_transfer.signatures import Signature, named, plain_array

_NEEDED = ("embed", "embed_class", "score", "score_all")
_KEPT = ("class_matrix", "bias", "seen_mask")
_ALIKE = ("scale", "seen_penalty", "gate", "least_similarity")


def add_classes(path, descriptions, x=None, version=None, tolerance=1e-5):
    """Writes a version of an exported zero-shot model that knows more classes; nothing is trained.

    The latest version embeds the descriptions itself: the model is not needed. New classes come behind the others, have
    the mean of their biases, and count as not seen in training; all else stays. As by `kt.export`, the version appears
    whole and verified, or not at all.

    Args:
        path: directory of the versions.
        descriptions: dict of the names of further classes to lists of what describes them, or of one vector alone, such
            as attributes, to that.
        x: real inputs, as for `kt.export`: the version is warmed up and verified on them. By default the descriptions,
            where inputs are of their kind; otherwise noise of the dtype and shape of the inputs.
        version: positive int; by default one more than the highest.
        tolerance: what the verification in a fresh process passes, as for `kt.serving.verify`.

    Returns:
        The `pathlib.Path` of the new version.

    Raises:
        FileNotFoundError: if there is no version.
        ValueError: if the latest is no export of such a method, a class is there already, has no description, or one of
            another kind or width.

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
            f"Expected an export of a zero-shot model; received {latest}, of {card['model']}, without the signatures "
            f"{', '.join(lacking)}."
        )
    before = card["own_classes"]["serving_default"]
    descriptions = _checked(descriptions, before)
    vectors = _vectors(loaded, descriptions)
    grown = _Grown(loaded, vectors)
    said = plain_array([row for rows in descriptions.values() for row in rows][:16])
    request = _request(loaded, card["input_name"], said, x)
    signatures = _signatures(grown, request, [*before, *descriptions], said)
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
        matrix, bias, seen = (stored[name].numpy() for name in _KEPT)
        new, self.loaded = len(vectors), loaded
        self.class_matrix = tf.Variable(np.concatenate([matrix, vectors]), trainable=False, name="class_matrix")
        bias = np.append(bias, np.full(new, bias.mean())).astype("float32")
        self.bias = tf.Variable(bias, trainable=False, name="bias")
        seen = np.append(seen, np.zeros(new)).astype("float32")
        self.seen_mask = tf.Variable(seen, trainable=False, name="seen_mask")
        self.scale, self.seen_penalty, self.gate, self.least_similarity = (stored[name] for name in _ALIKE)


def _vectors(loaded, descriptions):
    """The vectors of classes `(classes, dim)`, as the export embeds their descriptions."""
    embed = loaded.signatures["embed_class"]
    spec = embed.structured_input_signature[1]["descriptions"]
    found = []
    for name, rows in descriptions.items():
        rows = plain_array(rows)
        if (rows.dtype.kind in "US") != (spec.dtype == tf.string) or rows.shape[1:] != tuple(spec.shape[1:]):
            kind = "texts" if spec.dtype == tf.string else f"vectors of {spec.shape[-1]} numbers"
            raise ValueError(
                f"Expected descriptions of the class {name!r} that are {kind}; received {rows.dtype} of shape "
                f"{rows.shape}."
            )
        vector = embed(descriptions=tf.cast(tf.constant(rows), spec.dtype))["class_vector"].numpy()
        if not np.linalg.norm(vector) > 1e-6:
            raise ValueError(f"Expected descriptions that tell a class; received zeros alone for {name!r}.")
        found.append(vector)
    return np.concatenate(found)


def _request(loaded, key, said, x):
    """Inputs as clients send them."""
    if x is not None:
        return named(x, key)
    inputs = loaded.signatures["embed"].structured_input_signature[1]
    request, rng = {}, np.random.default_rng(0)
    for name, spec in inputs.items():
        shape = [axis or 1 for axis in spec.shape[1:]]
        if spec.dtype == tf.string or (said.dtype == spec.dtype.as_numpy_dtype and list(said.shape[1:]) == shape):
            request[name] = np.resize(said, (16, *said.shape[1:]))
        elif spec.dtype.is_integer:
            request[name] = rng.integers(0, 256, (16, *shape)).astype(spec.dtype.as_numpy_dtype)
        else:
            request[name] = rng.random((16, *shape)).astype(spec.dtype.as_numpy_dtype)
    return request


def _signatures(grown, request, names, said):
    """What the loaded export answers, with the new class matrix in the place of its own."""
    served = grown.loaded.signatures
    matrix, rows = grown.class_matrix.numpy(), len(next(iter(request.values())))

    def serving_default(inputs):
        found = served["score_all"](**inputs, classes=grown.class_matrix)["similarity"]
        logits = class_logits(found, grown.scale, grown.bias, grown.seen_mask, grown.seen_penalty, grown.gate)
        return answered(found, logits, grown.least_similarity, names)

    def as_before(name):
        return lambda inputs: served[name](**inputs)

    each = np.repeat(matrix[None], rows, axis=0)
    shapes = {"classes": (None, None, matrix.shape[-1])}
    return {
        "serving_default": Signature(serving_default, request, classes=names),
        "embed": Signature(as_before("embed"), request),
        "embed_class": Signature(as_before("embed_class"), {"descriptions": said}, rowwise=False),
        "score": Signature(as_before("score"), {**request, "classes": each}, shapes=shapes),
        "score_all": Signature(as_before("score_all"), {**request, "classes": matrix}, rowwise=False),
    }


def _checked(descriptions, before):
    found = checked_descriptions(descriptions)
    twice = [name for name in found if name in before]
    if twice:
        raise ValueError(f"Expected further classes; received {twice[0]!r}, which is there already.")
    return found
