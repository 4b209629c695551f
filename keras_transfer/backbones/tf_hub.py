"""TF Hub modules and other reusable TF2 SavedModels as Keras 3 layers."""

import contextlib
import hashlib
import pathlib
import uuid
import weakref

import keras

from keras_transfer.backbones.tf_hub_module import describe, load, make, unpack
from keras_transfer.keras_internals import in_safe_mode, is_replaced, own_parameters

ASSET = "module.zip"  # in the folder of the layer's assets in a `.keras` file

_LAYERS = weakref.WeakValueDictionary()  # the layers of this process by their tokens: copies take their weights


def from_hub(
    handle,
    trainable=False,
    *,
    statistics="batch",
    input_range=(0.0, 1.0),
    input_shape=None,
    output_key=None,
    arguments=None,
    name="hub",
):
    """Returns a TF Hub module as a model from raw inputs to features `(batch, dim)`.

    The model is an ordinary Keras model around one `HubLayer`: its weights are seen, frozen, trained and saved like any
    other's, and its file holds everything that another machine needs. That is a program too, so that in another process
    its `.keras` file, or that of a model around it, loads with `keras.saving.load_model(path, safe_mode=False)` alone:
    do so for files that you trust. It computes in float32 under every dtype policy.

    Args:
        handle: a folder with a TF2 SavedModel in the reusable form; the name of one in `hub/` of the folder that
            KERAS_TRANSFER_DATA names; or a handle or URL of TF Hub, which tensorflow_hub downloads and caches.
        trainable: bool, whether the module's weights train.
        statistics: which statistics normalise while the weights train. `"batch"`: those of the batch, the module runs
            in training mode and BatchNormalization moves its averages. `"moving"`: the averages; BatchNormalization
            keeps these, its scales and its offsets bit for bit, and the module runs in inference mode, so that its
            dropout is off too.
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
    layer = HubLayer(handle, output_key, arguments, statistics, trainable=trainable, name=name)
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
    """Runs a reusable TF2 SavedModel as a Keras layer; `from_hub` makes a backbone of it.

    The weights are the module's own variables under the paths `<layer>/<variable>`, such as `hub/conv_pw_1_bn/gamma`:
    patterns over paths reach each. A variable whose `trainable` is set to False stays so in a saved file.

    A `.keras` file holds the SavedModel as an asset, without the values of its weights, which Keras stores: it needs
    neither the original folder nor TF Hub. As code from a file it loads with `load_model(..., safe_mode=False)`. Copies
    made in the same process, by `clone_model` too, start from the weights as they are. The config describes the weights
    and what comes out: a layer made elsewhere from the config alone has zeros, and cannot run.

    Args:
        handle: see `from_hub`.
        output_key: see `from_hub`; None returns what the module returns.
        arguments: see `from_hub`.
        statistics: see `from_hub`.
        **kwargs: `name`, `trainable`.

    Departs: `hub.KerasLayer` belongs to Keras 2; in a Keras 3 model it trains nothing, without a word.
    """

    def __init__(self, handle, output_key=None, arguments=None, statistics="batch", **kwargs):
        saved = kwargs.pop("saved", None)  # by `from_config`
        super().__init__(**{**kwargs, "dtype": "float32"})
        if statistics not in ("batch", "moving"):
            raise ValueError(f'Expected `statistics` to be "batch" or "moving"; received {statistics!r}.')
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(f"Expected Keras on the TensorFlow backend; received {keras.backend.backend()!r}.")
        self.handle, self.output_key, self.arguments = str(handle), output_key, dict(arguments or {})
        self.statistics, self.token = statistics, uuid.uuid4().hex
        if saved is None:
            self._module, self._packed = load(self.handle)
        else:
            self._packed = saved["packed"]
            self._module = None if self._packed is None else unpack(self._packed)
        if (
            self._module is None
        ):  # it comes with `load_assets`, onto these variables, which an optimizer may know by then
            self._digest, self._descriptions = saved["digest"], saved["variables"]
            variables = [make(description) for description in self._descriptions]
        else:
            self._digest, variables = hashlib.sha256(self._packed).hexdigest(), list(self._module.variables)
            learn = {id(variable) for variable in getattr(self._module, "trainable_variables", ())}
            self._descriptions = [describe(variable, id(variable) in learn) for variable in variables]
        self.adopted = [self._adopt(*pair) for pair in zip(variables, self._descriptions)]
        for weight in own_parameters(self):
            weight.trainable = self.trainable and (saved is None or weight.path not in saved["frozen"])
        self._traced = {} if saved is None else saved["traced"]
        if statistics == "moving":
            self.freeze_batch_norm()
        self.built = True
        _LAYERS[self.token] = self

    def _adopt(self, variable, description):
        *scopes, name = description["name"].split("/")  # Keras names hold no slash: each part is a scope
        with contextlib.ExitStack() as stack:
            for scope in (self.name, *scopes):
                stack.enter_context(keras.name_scope(scope))
            weight = keras.Variable(
                variable,
                trainable=description["learns"],
                dtype=description["dtype"],
                autocast=False,
                name=name or "variable",
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
        if self.statistics == "moving":
            self.freeze_batch_norm()

    def freeze_batch_norm(self):
        """Stops the module's BatchNormalization: statistics, scales and offsets stay bit for bit."""
        self.statistics = "moving"
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
        if self._module is None:
            raise ValueError(
                f"Expected {self.name!r} to have its module; received none, since it was made from a config alone. The "
                "module is in the `.keras` file: call `keras.saving.load_model(path, safe_mode=False)`."
            )
        if any(map(is_replaced, self.weights)):
            raise ValueError(
                f"Expected {self.name!r} to run on its own weights; received others, by `stateless_call`. A SavedModel "
                "is bound to its variables: this method needs a backbone of Keras layers, as `from_applications` and "
                "`from_keras_hub` give."
            )
        arguments = dict(self.arguments)
        if any("training" in f.function_type.parameters for f in self._module.__call__.concrete_functions):
            arguments["training"] = bool(training and self.trainable and self.statistics == "batch")
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

    def compute_output_spec(self, inputs, training=False):
        """Returns what comes out. While a file is loaded, it is what came out of inputs of that shape when it was made.

        A functional model is put together again before the module is there to be traced.
        """
        rows = keras.tree.flatten(inputs)[0].shape[0]
        kind = str(keras.tree.map_structure(lambda x: f"{x.dtype} {tuple(x.shape[1:])}", inputs))
        if self._module is not None:
            outputs = super().compute_output_spec(inputs, training=training)
            spec = keras.tree.map_structure(lambda x: keras.InputSpec(x.dtype, (None, *x.shape[1:])), outputs)
            self._traced[kind] = spec
            return outputs
        if kind not in self._traced:
            raise ValueError(
                f"Expected inputs of {self.name!r} that it had seen when it was saved, {list(self._traced)}, until all "
                f"of the file is loaded; received {kind!r}."
            )
        return keras.tree.map_structure(lambda x: keras.KerasTensor((rows, *x.shape[1:]), x.dtype), self._traced[kind])

    def save_assets(self, inner_path):
        """Writes the SavedModel, without the values of its weights, into a folder of the `.keras` file."""
        pathlib.Path(inner_path, ASSET).write_bytes(self._packed)

    def load_assets(self, inner_path):
        """Loads the SavedModel onto the weights, which keep their values; a copy that has it runs nothing of the file.

        Raises:
            ValueError: if the file lacks it, or has another one than its config says.
        """
        if self._module is not None:
            return
        file = pathlib.Path(inner_path or "", ASSET)
        packed = file.read_bytes() if inner_path and file.is_file() else b""
        if hashlib.sha256(packed).hexdigest() != self._digest:
            raise ValueError(f"Expected the module of {self.name!r} in the file's assets; received another or none.")
        values = self.get_weights()
        self._module, self._packed = unpack(packed, [weight.value for weight in self.adopted]), packed
        self.set_weights(values)

    def get_config(self):
        """Returns the arguments, and what the layer has to know before `load_assets`."""
        return {
            **super().get_config(),
            "handle": self.handle,
            "output_key": self.output_key,
            "arguments": self.arguments,
            "statistics": self.statistics,
            "digest": self._digest,
            "variables": self._descriptions,
            "frozen": [weight.path for weight in own_parameters(self) if self.trainable and not weight.trainable],
            "traced": keras.saving.serialize_keras_object(dict(self._traced)),
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
        saved = {name: config.pop(name) for name in ("digest", "variables", "frozen", "traced")}
        saved["traced"] = keras.saving.deserialize_keras_object(saved["traced"])
        saved["packed"] = None if original is None else original._packed
        layer = cls(**config, saved=saved)
        if original is not None:
            layer.set_weights(original.get_weights())
        return layer


def _input(spec, input_shape):
    shape = tuple(spec.shape[1:]) if input_shape is None else tuple(input_shape)
    if len(shape) != spec.shape.rank - 1 or any(n not in (None, size) for n, size in zip(spec.shape[1:], shape)):
        raise ValueError(f"Expected inputs of shape {tuple(spec.shape[1:])}, as the module takes; received {shape}.")
    return keras.Input(shape, dtype=spec.dtype.name, name=spec.name)
