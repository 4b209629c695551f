"""Backbones by name, as a command line asks for them."""

import difflib
import warnings
from pathlib import Path

import keras

from keras_transfer.backbones.applications import from_applications
from keras_transfer.backbones.keras_hub import from_keras_hub
from keras_transfer.backbones.small import small_cnn
from keras_transfer.backbones.tf_hub import from_hub
from keras_transfer.checks import check_flag
from keras_transfer.keras_internals import all_layers

KINDS = ("small_cnn", "applications:<name>", "hub:<handle>", "keras_hub:<preset>", "file:<path>.keras")


def load(name, input_shape, trainable=True):
    """Returns a backbone of images by its name.

    Args:
        name: str, one of

            - `"small_cnn"`: `kt.backbones.small_cnn`, untrained;
            - `"applications:MobileNetV2"`: a network of `keras.applications` with Keras's ImageNet weights, which are
              downloaded on first use, its preprocessing inside;
            - `"hub:<handle>"`: a folder with a reusable SavedModel, or a handle or URL of TF Hub, see
              `kt.backbones.from_hub`;
            - `"keras_hub:<preset>"`: a preset, handle or folder of keras_hub, its preprocessing inside;
            - `"file:<path>.keras"`: a saved Keras 3 network from images to features, or to a feature map, which is
              averaged over its places. It gets images in 0-255: nothing is added to the preprocessing that the file
              has, and a warning says where it has none. A classifier's logits would pass for features: save the network
              below them.
        input_shape: shape of an image, `(height, width, 3)`.
        trainable: bool, whether its weights train.

    Returns:
        `keras.Model` from images `(batch, height, width, 3)`, uint8 or float, in 0-255, to features `(batch, dim)`.

    Raises:
        ValueError: if the name is none of these, there is no such network or file, or the network takes no images of
            that shape.
        OSError: if weights cannot be downloaded.
        ImportError: if a package is missing, with the line that installs it.

    Example:

    ```python
    encoder = kt.backbones.load("applications:MobileNetV2", (128, 128, 3), trainable=False)
    ```
    """
    shape = _checked_shape(input_shape)
    check_flag(trainable, "trainable")
    kind, _, rest = name.partition(":") if isinstance(name, str) else (None, None, None)
    if name == "small_cnn":
        backbone = small_cnn(shape)
    elif kind == "applications" and rest:
        backbone = _application(rest, shape)
    elif kind == "hub" and rest:
        backbone = from_hub(rest, trainable=trainable, input_shape=shape)
    elif kind == "keras_hub" and rest:
        backbone = from_keras_hub(rest)
    elif kind == "file" and rest:
        backbone = _from_file(Path(rest))
    else:
        raise ValueError(f"Expected a backbone {', '.join(KINDS[:-1])} or {KINDS[-1]}; received {name!r}{_meant(name)}")
    backbone = _of_shape(backbone, shape, name)
    if kind != "hub":
        backbone.trainable = trainable
    return backbone


def _checked_shape(input_shape):
    shape = tuple(input_shape)
    if len(shape) != 3 or shape[2] != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"Expected `input_shape` (height, width, 3) of images in colour; received {input_shape!r}.")
    return shape


def _meant(name):
    """Returns the end of the error for a name that is none."""
    if not isinstance(name, str):
        return "."
    if isinstance(getattr(keras.applications, name, None), type(load)):
        return f'. Write "applications:{name}".'
    if name.endswith(".keras"):
        return f'. Write "file:{name}".'
    if Path(name, "saved_model.pb").is_file():
        return f'. Write "hub:{name}".'
    heads = [kind.partition(":")[0] for kind in KINDS]
    close = difflib.get_close_matches(name.partition(":")[0].lower(), heads, n=1)
    return f". Did you mean {KINDS[heads.index(close[0])]}?" if close else "."


def _application(name, shape):
    try:
        return from_applications(name, input_shape=shape)
    except Exception as error:
        if "URL fetch failure" not in str(error):  # Keras raises a bare Exception
            raise
        raise OSError(
            f"Expected to download the weights of {name}; received: {error}. Where there is no network, save the "
            f'network with its weights elsewhere, as a .keras file, and ask for "file:<path>.keras".'
        ) from error


def _from_file(path):
    if path.suffix != ".keras" or not path.is_file():
        near = [p.name for p in sorted(path.parent.glob("*.keras"))] if path.parent.is_dir() else []
        beside = difflib.get_close_matches(path.name, near, n=3, cutoff=0.3)
        hint = f" Beside it: {', '.join(beside)}." if beside else ""
        raise ValueError(f"Expected a file <path>.keras of a Keras 3 network; received {str(path)!r}.{hint}")
    network = keras.saving.load_model(path, compile=False)
    inputs, outputs = (getattr(network, name, None) for name in ("inputs", "outputs"))
    if inputs is None or outputs is None:
        raise ValueError(
            f"Expected a functional or sequential network in {path}; received a {type(network).__name__}: save its "
            "encoder alone, `model.encoder.save(...)`."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"Expected a network of one input and one output in {path}; received {len(inputs)} and {len(outputs)}."
        )
    _warn_of_raw_pixels(network, path)
    network = _renamed(network)
    (output,), taken = network.outputs, {layer.name for layer in network.layers}
    if keras.tree.is_nested(output) or len(output.shape) not in (2, 4):
        raise ValueError(f"Expected features (batch, dim) or a feature map from {path}; received {output.shape}.")
    if len(output.shape) == 2:
        return network
    name = next(name for name in ("features", "pooling", "pooled_features", "mean_over_places") if name not in taken)
    return keras.Model(network.inputs[0], keras.layers.GlobalAveragePooling2D(name=name)(output), name=network.name)


def _renamed(network):
    """Returns a network whose layers have names that a SavedModel takes: none begins with an underscore."""
    if not any(layer.name.startswith("_") for layer in all_layers(network)):
        return network

    def renamed(layer):
        config = layer.get_config()
        return layer.__class__.from_config(config | {"name": f"{'layer' * layer.name.startswith('_')}{layer.name}"})

    clone = keras.models.clone_model(network, clone_function=renamed, recursive=True)
    clone.set_weights(network.get_weights())
    return clone


def _warn_of_raw_pixels(network, path):
    """Warns where the first layer computes with the pixels, which seldom are what it was trained on."""
    first = next((layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)), None)
    if isinstance(first, (keras.layers.Conv2D, keras.layers.Dense, keras.layers.DepthwiseConv2D)):
        warnings.warn(
            f"The network of {path} begins with the {type(first).__name__} {first.name!r}, which gets pixels in 0-255 "
            "as they are. If it was trained on other values, save it with their scaling before it, as in "
            "`keras.Sequential([keras.Input((None, None, 3)), keras.layers.Rescaling(1 / 128, -127 / 128), network])`.",
            stacklevel=4,
        )


def _of_shape(backbone, shape, name):
    """Checks what a backbone takes and returns."""
    takes = backbone.inputs[0].shape[1:] if len(backbone.inputs) == 1 else ()
    if len(takes) != 3 or any(side not in (None, ours) for side, ours in zip(takes, shape)):
        received = [tuple(tensor.shape) for tensor in backbone.inputs]
        raise ValueError(f"Expected a backbone of images {shape}; received {name!r}, which takes {received[0]}.")
    made = [tuple(tensor.shape) for tensor in backbone.outputs]
    if len(made) != 1 or len(made[0]) != 2 or made[0][1] is None:
        raise ValueError(f"Expected features (batch, dim) from {name!r}; received {made[0]}.")
    return backbone
