"""An encoder in two: what stays as it is, and what trains."""

import keras

from keras_transfer.checks import check_number


def split(encoder, depth=0.5):
    """Returns the lower part of an encoder and its upper part, which share the encoder's layers and weights.

    What does not train needs to run only once on each input: `lower.predict(x)` keeps what reaches `upper`.

    Args:
        encoder: built `keras.Model` from inputs to features.
        depth: float above 0, at most 1: the share of its layers with a kernel that the upper part has.

    Returns:
        Two models, `lower` from inputs to one tensor and `upper` from there to the features; `(None, encoder)` where no
        single tensor goes from one to the other: at a depth of 1, in a TF Hub module, across residual connections.

    Raises:
        ValueError: if the depth is out of range.

    Example:

    ```python
    lower, upper = kt.finetuning.split(backbone, depth=0.25)
    kept = lower.predict(images)
    model = keras.Sequential([upper, keras.layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(kept, labels, epochs=10)  # and keras.Sequential([lower, model]) is the whole
    ```
    """
    place = cut(encoder, depth)
    return (None, encoder) if place is None else (part(encoder, None, place), part(encoder, place, None))


def cut(encoder, depth):
    """Returns the place, among the encoder's layers, of the last one below a cut; None where there is no such cut."""
    check_number(depth, "depth", above=0, most=1)
    one = isinstance(encoder, keras.Model) and len(getattr(encoder, "inputs", None) or ()) == 1
    inner = encoder.layers if one else []
    learned = [place for place, layer in enumerate(inner) if _has_kernel(layer)]
    trained = max(1, round(depth * len(learned)))
    if trained >= len(learned):
        return None
    for place in range(learned[-trained] - 1, -1, -1):
        if isinstance(inner[place], keras.layers.InputLayer):
            return None
        try:
            part(encoder, None, place), part(encoder, place, None)
        except (ValueError, AttributeError):  # another tensor goes past it, or Keras never called the layer
            continue
        return place
    return None


def part(encoder, after, last):
    """Returns the model of what comes after one place of an encoder up to another; None is its input, or its output."""
    if isinstance(encoder, keras.Sequential):
        layers = encoder.layers[0 if after is None else after + 1 : None if last is None else last + 1]
        shape = encoder.input_shape if after is None else encoder.layers[after].output.shape
        return keras.Sequential([keras.Input(shape[1:]), *layers])
    inputs = encoder.inputs[0] if after is None else encoder.layers[after].output
    return keras.Model(inputs, encoder.outputs[0] if last is None else encoder.layers[last].output)


def _has_kernel(layer):
    return any(weight.path.rpartition("/")[2].endswith(("kernel", "embeddings")) for weight in layer.weights)
