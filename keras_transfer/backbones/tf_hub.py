"""TF Hub modules and other reusable TF2 SavedModels as Keras 3 layers."""

import base64
import contextlib
import io
import json
import os
import pathlib
import tempfile
import uuid
import weakref
import zipfile

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.keras_internals import in_safe_mode, is_replaced, own_parameters

KEPT_BYTES = 4096  # smaller entries of a checkpoint travel with the graph: what is no weight, such as tables, is there

_LAYERS = weakref.WeakValueDictionary()  # the layers of this process by their tokens: copies take their weights


def from_hub(
    handle,
    trainable=False,
    *,
    batch_norm="training",
    input_range=(0.0, 1.0),
    input_shape=None,
    output_key=None,
    arguments=None,
    name="hub",
):
    """Returns a TF Hub module as a model from raw inputs to features `(batch, dim)`.

    The model is an ordinary Keras model around one `HubLayer`: its weights are seen, frozen, trained and saved like any
    other's, and its file holds everything that another machine needs. It computes in float32 under every dtype policy.

    Args:
        handle: a folder with a TF2 SavedModel in the reusable form; the name of one in `hub/` of the folder that
            KERAS_TRANSFER_DATA names; or a handle or URL of TF Hub, which tensorflow_hub downloads and caches.
        trainable: bool, whether the module's weights train.
        batch_norm: `"training"`: while its weights train, the module runs in training mode: BatchNormalization uses
            the statistics of the batch and moves its averages. `"frozen"`: BatchNormalization keeps its statistics,
            scales and offsets bit for bit; the module runs in inference mode, so its dropout is off too.
        input_range: pair of floats, what the module expects of images; their 0 to 255 are mapped to it. TF Hub's
            convention for images is 0 to 1. None leaves inputs as they are, as do strings and token ids.
        input_shape: shape of one input, `(128, 128, 3)`, for a module that takes any size; None leaves the size free.
        output_key: key of the features where the module returns several outputs in a dict, `"pooled_output"`.
        arguments: dict of further arguments of the module, fixed.
        name: str, the name of the layer, which begins the paths of its weights.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)`, uint8 or float, 0 to 255, to float32 features
        `(batch, dim)`; feature maps are averaged over their places. Modules of text take strings `(batch,)` or a dict
        of token ids.

    Raises:
        ValueError: the folder is no SavedModel in the reusable form; an `output_key` that is not there or is missing;
            inputs of a shape that the module does not take.
        ImportError: tensorflow_hub is needed to download, or tensorflow_text for a module that uses its operations.

    Example:

    ```python
    encoder = kt.backbones.from_hub("https://tfhub.dev/google/imagenet/mobilenet_v1_100_128/feature_vector/5")
    model = keras.Sequential([encoder, keras.layers.Dense(7)])
    ```
    """
    layer = HubLayer(handle, output_key, arguments, batch_norm, trainable=trainable, name=name)
    spec = layer.input_spec_of_module
    inputs = x = keras.tree.map_structure(lambda s: _input(s, input_shape), spec)
    if input_range is not None and not keras.tree.is_nested(spec) and spec.shape.rank == 4:
        low, high = input_range
        x = keras.layers.Rescaling((high - low) / 255, low, dtype="float32", name="rescaling")(x)
    features = layer(x)
    if keras.tree.is_nested(features):
        raise ValueError(
            f"Expected `output_key` to choose one of the outputs {sorted(features)} of {handle!r}; "
            f"received {output_key!r}."
        )
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooling")(features)
    if len(features.shape) != 2:
        raise ValueError(f"Expected features (batch, dim) from {handle!r}; received shape {features.shape}.")
    return keras.Model(inputs, features, name=f"{name}_backbone")


@keras.saving.register_keras_serializable(package="keras_transfer")
class HubLayer(keras.layers.Layer):
    """A reusable TF2 SavedModel as a Keras layer; `from_hub` makes a backbone of it.

    The weights are the module's own variables under the paths `<layer>/<variable>`, such as `hub/conv_pw_1_bn/gamma`:
    patterns over paths reach each. A variable whose `trainable` is set to False stays so in a saved file.

    The config holds the SavedModel without the values of its weights, which Keras stores: a `.keras` file needs neither
    the original folder nor TF Hub. As code from a file it loads with `load_model(..., safe_mode=False)`. Copies made in
    the same process, by `clone_model` too, start from the weights as they are; a layer made elsewhere from the config
    alone has zeros until weights are loaded.

    Args:
        handle: see `from_hub`.
        output_key: see `from_hub`; None returns what the module returns.
        arguments: see `from_hub`.
        batch_norm: see `from_hub`.
        **kwargs: `name`, `trainable`.

    Departs: `hub.KerasLayer` belongs to Keras 2; in a Keras 3 model it trains nothing, without a word.
    """

    def __init__(self, handle, output_key=None, arguments=None, batch_norm="training", **kwargs):
        packed, frozen = kwargs.pop("packed", None), kwargs.pop("frozen", ())
        super().__init__(**{**kwargs, "dtype": "float32"})
        if batch_norm not in ("training", "frozen"):
            raise ValueError(f'Expected `batch_norm` to be "training" or "frozen"; received {batch_norm!r}.')
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(f"Expected Keras on the TensorFlow backend; received {keras.backend.backend()!r}.")
        self.handle, self.output_key, self.arguments = str(handle), output_key, dict(arguments or {})
        self.batch_norm, self.token = batch_norm, uuid.uuid4().hex
        self._module, self._packed = _load(self.handle) if packed is None else (_unpack(packed), packed)
        trained = {id(variable) for variable in getattr(self._module, "trainable_variables", ())}
        self.adopted = [self._adopt(variable, id(variable) in trained) for variable in self._module.variables]
        for weight in own_parameters(self):
            weight.trainable = self.trainable and weight.path not in frozen
        if batch_norm == "frozen":
            self.freeze_batch_norm()
        self.built = True
        _LAYERS[self.token] = self

    def _adopt(self, variable, trainable):
        *scopes, name = variable.name.split(":")[0].split("/")  # Keras names hold no slash: each part is a scope
        with contextlib.ExitStack() as stack:
            for scope in (self.name, *scopes):
                stack.enter_context(keras.name_scope(scope))
            weight = keras.Variable(
                variable, trainable=trainable, dtype=variable.dtype.name, autocast=False, name=name or "variable"
            )
        if weight.value is not variable:
            raise RuntimeError(f"Expected Keras to adopt {variable.name!r}; received a copy.")
        return weight

    @property
    def trainable(self):
        """Whether the module's weights train; setting it leaves a frozen BatchNormalization frozen."""
        return keras.layers.Layer.trainable.fget(self)

    @trainable.setter
    def trainable(self, value):
        keras.layers.Layer.trainable.fset(self, value)
        if self.batch_norm == "frozen":
            self.freeze_batch_norm()

    def freeze_batch_norm(self):
        """Stops the module's BatchNormalization: statistics, scales and offsets stay bit for bit."""
        self.batch_norm = "frozen"
        moving = {w.path.rpartition("/")[0] for w in self.weights if w.name in ("moving_mean", "moving_variance")}
        for weight in self.weights:
            if weight.path.rpartition("/")[0] in moving:
                weight.trainable = False

    @property
    def input_spec_of_module(self):
        """What the module takes: a `tf.TensorSpec` or a structure of them."""
        return self._module.__call__.concrete_functions[0].structured_input_signature[0][0]

    def call(self, inputs, training=False):
        """Runs the module, in training mode only while its weights train."""
        if any(map(is_replaced, self.weights)):
            raise ValueError(
                f"Expected {self.name!r} to run on its own weights; received others, by `stateless_call`. A SavedModel "
                "is bound to its variables: this method needs a backbone of Keras layers, as `from_applications` and "
                "`from_keras_hub` give."
            )
        arguments = dict(self.arguments)
        if any("training" in f.function_type.parameters for f in self._module.__call__.concrete_functions):
            arguments["training"] = bool(training and self.trainable and self.batch_norm == "training")
        outputs = self._module(inputs, **arguments)
        if self.trainable:
            for loss in getattr(self._module, "regularization_losses", None) or ():
                self.add_loss(loss())
        if self.output_key is None:
            return outputs
        if not isinstance(outputs, dict) or self.output_key not in outputs:
            found = sorted(outputs) if isinstance(outputs, dict) else "a single output"
            raise ValueError(f"Expected an output {self.output_key!r} of {self.handle!r}; received {found}.")
        return outputs[self.output_key]

    def get_config(self):
        """Returns the arguments, and the SavedModel without the values of its weights."""
        return {
            **super().get_config(),
            "handle": self.handle,
            "output_key": self.output_key,
            "arguments": self.arguments,
            "batch_norm": self.batch_norm,
            "frozen": [weight.path for weight in own_parameters(self) if self.trainable and not weight.trainable],
            "packed": base64.b64encode(self._packed).decode(),
            "token": self.token,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the layer that `get_config` describes; code from a file needs `safe_mode=False`."""
        config = dict(config)
        original = _LAYERS.get(config.pop("token", None))
        if original is None and in_safe_mode() is not False:
            raise ValueError(
                f"Expected `safe_mode=False` to load {config.get('name')!r}: the SavedModel inside the file is a "
                "program. If you trust the file, call `keras.saving.load_model(path, safe_mode=False)`."
            )
        packed = base64.b64decode(config["packed"]) if original is None else original._packed
        layer = cls(**{**config, "packed": packed})
        if original is not None:
            layer.set_weights(original.get_weights())
        return layer


def _input(spec, input_shape):
    shape = tuple(spec.shape[1:]) if input_shape is None else tuple(input_shape)
    if len(shape) != spec.shape.rank - 1 or any(n not in (None, size) for n, size in zip(spec.shape[1:], shape)):
        raise ValueError(f"Expected inputs of shape {tuple(spec.shape[1:])}, as the module takes; received {shape}.")
    return keras.Input(shape, dtype=spec.dtype.name, name=spec.name)


def _resolve(handle):
    """The folder of a handle: as it is, under KERAS_TRANSFER_DATA, or downloaded."""
    local = [pathlib.Path(handle)]
    if "KERAS_TRANSFER_DATA" in os.environ:
        local.append(pathlib.Path(os.environ["KERAS_TRANSFER_DATA"], "hub", handle.partition("://")[2] or handle))
    for folder in local:
        if folder.is_dir():
            return folder
    if "://" not in handle and handle.count("/") < 2:
        raise ValueError(f"Expected a folder, or a handle of TF Hub; received {handle!r}, which is neither.")
    try:
        import tensorflow_hub
    except ImportError as error:
        raise ImportError("Downloading from TF Hub needs: pip install 'keras_transfer[hub]'") from error
    return pathlib.Path(tensorflow_hub.resolve(handle))


def _load(handle):
    """The module of a handle, and its SavedModel packed."""
    folder = _resolve(handle)
    if not (folder / "saved_model.pb").is_file():
        raise ValueError(f"Expected a TF2 SavedModel; received {handle!r}, a folder without `saved_model.pb`.")
    module = _open(folder)
    if not callable(module) or not hasattr(module, "variables"):
        raise ValueError(
            f"Expected a SavedModel in the reusable form, callable and with its variables; received {handle!r}, which "
            f"has only the signatures {sorted(module.signatures)}."
        )
    return module, _pack(folder, {v.numpy().tobytes() for v in module.variables})


def _open(folder):
    try:
        return tf.saved_model.load(str(folder))
    except (tf.errors.NotFoundError, FileNotFoundError) as error:
        if "Op type not registered" not in str(error):
            raise
        raise ImportError(
            "The module uses operations of TF Text: pip install tensorflow-text, and import tensorflow_text."
        ) from error


def _pack(folder, values):
    """A zip of the graph, the assets and the checkpoint without `values`, which are held elsewhere, as bytes."""
    reader = tf.train.load_checkpoint(str(folder / "variables/variables"))
    dtypes, entries, files = reader.get_variable_to_dtype_map(), [], {}
    for file in [folder / "saved_model.pb", *(f for f in folder.glob("assets/**/*") if f.is_file())]:
        files[file.relative_to(folder).as_posix()] = file.read_bytes()
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        value = reader.get_tensor(key)
        held = isinstance(value, np.ndarray) and value.nbytes > KEPT_BYTES and value.tobytes() in values
        if not held:
            files[f"entries/{len(entries)}"] = tf.io.serialize_tensor(value).numpy()
        entries.append([key, dtypes[key].name, shape, held])
    files["entries.json"] = json.dumps(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without a date: equal bytes
    return buffer.getvalue()


def _unpack(packed):
    """The module of a packed SavedModel, its held values zero."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)
        names, tensors = [], []
        for number, (name, dtype, shape, held) in enumerate(json.loads(archive.read("entries.json"))):
            names.append(name)
            stored = None if held else archive.read(f"entries/{number}")
            tensors.append(tf.zeros(shape, dtype) if held else tf.io.parse_tensor(stored, dtype))
        pathlib.Path(folder, "variables").mkdir()
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/variables/variables",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )
        return _open(folder)
