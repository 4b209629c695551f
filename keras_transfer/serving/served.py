"""What an export serves: a model's signatures, with what stands around them for every client."""

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.checks import is_float
from keras_transfer.model import signatures_of
from keras_transfer.signatures import Signature, embedded, named, reader

ROWS = 16  # of a request on which an export is tried before it is published


def served_signatures(model, x, classes, preprocessing, embed, input_name, outputs=None):
    """Returns `{name: Signature}` of all that `kt.export` serves; see there.

    Each checks in the graph that its inputs have the shapes behind the first axis that it was made for. A server passes
    on what a client sends, and what a kernel makes of another rank may end the process.
    """
    signatures = signatures_of(model, x, classes, preprocessing, input_name, outputs)
    if embed is not None:
        request = named(x, input_name)
        read = reader(x, request, preprocessing)
        signatures["embed"] = Signature(lambda inputs: embedded(embed(read(inputs), training=False)), request)
    return {name: _guarded(signature) for name, signature in signatures.items()}


def _guarded(signature):
    shapes = {name: signature.shape(name) for name in signature.request}

    def answer(inputs):
        return signature.answer({name: tf.ensure_shape(inputs[name], shape) for name, shape in shapes.items()})

    return signature._replace(answer=answer)


def first_rows(signature, rows=ROWS):
    """Returns the request of a signature, or its first rows where each is answered by itself."""
    return {name: value[: rows if signature.rowwise else None] for name, value in signature.request.items()}


def answered_names(signatures, owners):
    """Runs each signature on the first rows of its request, and returns `{name: sorted names of its outputs}`.

    Args:
        signatures: `{name: Signature}`.
        owners: layers and models whose weights they use.

    Raises:
        ValueError: if an output is NaN or infinite; it is named, as are inputs and weights that are.
    """
    outputs, wrong = {}, []
    for name, signature in signatures.items():
        request = first_rows(signature)
        answers = signature.answer({key: tf.constant(value) for key, value in request.items()})
        outputs[name] = sorted(answers)
        bad = [f"the output {key!r} of {name!r}" for key, value in answers.items() if not is_finite(value)]
        inputs = [f"the input {key!r}" for key, value in request.items() if not is_finite(value)]
        wrong += bad + (inputs if bad else [])
    if wrong:
        wrong += weights_not_finite(owners)
        raise ValueError(f"Expected finite outputs to serve; received NaN or infinity as {_joined(wrong)}.")
    return outputs


def check_stored(folder, owners):
    """Raises an error where a variable that an export stores is NaN or infinite; the weights that are so are named."""
    stored = tf.train.load_checkpoint(str(folder / "variables/variables"))
    if not all(is_finite(stored.get_tensor(key)) for key in variables_of(stored.get_variable_to_shape_map())):
        raise ValueError(
            f"Expected finite weights to serve; received NaN or infinity as {_joined(weights_not_finite(owners))}."
        )


def variables_of(keys):
    """Returns the keys of a checkpoint that are of variables: not of lookup tables, which are assets too."""
    return [key for key in keys if key.endswith(".ATTRIBUTES/VARIABLE_VALUE")]


def weights_not_finite(owners):
    """Returns the names of the weights of layers that hold NaN or infinity."""
    weights = [weight for owner in owners if isinstance(owner, keras.Layer) for weight in owner.weights]
    return [f"the weight {weight.path!r}" for weight in weights if not is_finite(weight)]


def is_finite(value):
    """Returns whether all numbers of an array, tensor or variable are finite; what is no float is."""
    if not is_float(value):
        return True
    return bool(np.isfinite(keras.ops.convert_to_numpy(value).astype("float32")).all())


def _joined(names):
    return ", ".join(dict.fromkeys(names))
