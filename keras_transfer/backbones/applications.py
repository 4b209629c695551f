"""The networks of keras.applications as backbones."""

import difflib
import sys

import keras

from keras_transfer.backbones.features import not_a_backbone, pooled
from keras_transfer.backbones.weights import load_weights_file


def from_applications(name, weights="imagenet", input_shape=None, layer=None, pooling="avg", **kwargs):
    """Makes a backbone of a network of `keras.applications`, its preprocessing inside.

    The model is flat: its layers are reached as `model.get_layer("conv_pw_7")`, its variables are called
    `conv_pw_7/kernel`. BatchNormalization follows the `training` argument of the call.

    Args:
        name: name of a class in `keras.applications`, such as `"MobileNetV2"`.
        weights: `"imagenet"`: Keras's own, downloaded on first use. None: random. Otherwise the path of a file for
            `load_weights_file`, which must hold every variable of the backbone and may hold more.
        input_shape: shape of an image, `(height, width, channels)`. Default: three channels, any size that the
            network takes.
        layer: name of the layer whose output becomes the features, such as `"conv_pw_12_relu"`; what follows it is
            left out. Default: the last before the classifier.
        pooling: `"avg"` or `"max"`, over the positions of that output.
        **kwargs: further arguments of the class, such as `alpha=0.5` of `MobileNet`.

    Returns:
        `keras.Model` from RGB images `(batch, height, width, channels)`, uint8 or float, always in 0-255, to features
        `(batch, dim)`.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if there is no such network, layer or pooling, or the file of weights lacks a variable.

    Example:

    ```python
    backbone = kt.backbones.from_applications("MobileNetV2", input_shape=(128, 128, 3))
    features = backbone(images)  # (batch, 1280)
    ```
    """
    if not isinstance(name, str):
        raise not_a_backbone("the name of a network in keras.applications", name)
    network = getattr(keras.applications, name, None)
    if not isinstance(network, type(from_applications)):
        raise ValueError(f"Expected a network of keras.applications{_like(name, dir(keras.applications))}.")
    images = keras.Input(input_shape or (None, None, 3), name="images")
    # Each module of keras.applications knows its own preprocessing; it returns its input where that is a layer inside.
    preprocessed = sys.modules[network.__module__].preprocess_input(images)
    own = weights if weights == "imagenet" else None
    application = network(include_top=False, weights=own, input_tensor=preprocessed, **kwargs)
    names = [each.name for each in application.layers]
    if layer is not None and layer not in names:
        raise ValueError(f"Expected a layer of {name}{_like(layer, names)}.")
    output = application.output if layer is None else application.get_layer(layer).output
    model = keras.Model(images, pooled(output, pooling), name=application.name)
    if weights is not own:
        result = load_weights_file(model, weights)
        if result.missing or result.mismatched:
            raise ValueError(f"Expected {weights} to hold all of {name} up to the features. {result}")
    return model


def _like(received, known):
    close = difflib.get_close_matches(received, known, n=3)
    return f", such as {', '.join(close)}; received {received!r}" if close else f"; received {received!r}"
