"""The whole life of LoRA over Keras's own `enable_lora`: attach, save, load, resume, merge, serve several."""

import functools
import hashlib
import itertools
import json
import math
import pathlib
import re
import zipfile
from typing import NamedTuple

import keras
import numpy as np

from keras_transfer.files import write_whole
from keras_transfer.keras_internals import all_layers, child_layers, own_state

META = "keras_transfer.lora.1"  # the entry of an adapter file that says what the others are


class Parameters(NamedTuple):
    """Sizes of an adapter and of its model.

    Attributes:
        adapter: number of LoRA parameters; head and other layers that train fully are not counted.
        model: number of parameters of the model without LoRA.
    """

    adapter: int
    model: int

    @property
    def share(self):
        """`adapter / model`."""
        return self.adapter / self.model


class Attached(NamedTuple):
    """What `attach` did; `print` it.

    Attributes:
        layers: paths of the layers that got LoRA.
        skipped: `{path: reason}` of the chosen layers with weights that did not, those of `also_train` left out.
        parameters: `Parameters`.
    """

    layers: tuple
    skipped: dict
    parameters: Parameters

    def __str__(self):
        adapter, model = self.parameters
        lines = [f"LoRA on {len(self.layers)} layers: {adapter:,} parameters, {adapter / model:.2%} of {model:,}"]
        for reason in dict.fromkeys(self.skipped.values()):
            paths = [path for path, why in self.skipped.items() if why == reason]
            lines.append(f"skipped {len(paths)} ({reason}): {', '.join(paths)}")
        return "\n".join(lines)


def attach(model, rank=8, alpha=None, layers=None, also_train=()):
    """Freezes a model and attaches LoRA to it: kernels W act as W + alpha / rank * A B, and A and B train.

    Works in place, on Dense, EinsumDense, Embedding, Conv1D, Conv2D and Conv3D at any depth; Keras has no LoRA for
    others, such as DepthwiseConv2D. A (..., inputs, rank) starts at random, B (rank, outputs) at zero, so that outputs
    do not change; both are float32 under every dtype policy. All else is frozen: kernels, biases, and
    BatchNormalization with its statistics. Compile afterwards: a model that was compiled is no longer.

    Setting `trainable` of the model or of a layer with LoRA afterwards thaws the kernels; `save` refuses that. Keras's
    own files keep no A and B: they store merged kernels and load as dead layers (`dead_layers`), which never learn
    again. Use `save` and `load`; for a model from such a file, `merge` it and attach again.

    Args:
        model: built `keras.Model`. Of a method with a teacher, choose the `layers`, or attach to its network first.
        rank: int, 1 or more. EinsumDense factorises its last axis only, so that equal ranks are larger there than in
            the paper; `parameters` counts.
        alpha: float above 0; by default `rank`, a factor of 1.
        layers: regular expression or several, each to match a whole `layer.path`, such as `"conv_pw_.*"`; one that
            matches a model stands for all layers in it. By default every layer that can take LoRA. After a model is
            loaded, names of models around a layer may be missing from its path: begin with `.*`.
        also_train: the same for layers that train fully, such as the head, or normalisation with its statistics.

    Returns:
        An `Attached`, which says what was skipped and why.

    Raises:
        ValueError: unbuilt model, LoRA attached already, a pattern that matches nothing, nothing to attach to, a rank
            below 1, an alpha that is not above 0.

    Example:
    ```python
    print(lora.attach(model, rank=8, also_train="head"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y)
    lora.save(model, "adapter.npz")
    served = lora.merge(model)
    ```

    Reference: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685.
    """
    if not model.built:
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    if _attached(model):
        raise ValueError(f"Expected a model without LoRA; {_attached(model)[0].path} has it. Call `merge` first.")
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"Expected an int of 1 or more as rank; received {rank!r}.")
    alpha = float(rank if alpha is None else alpha)
    if not alpha > 0:
        raise ValueError(f"Expected an alpha above 0; received {alpha!r}.")
    trained = _matching(model, also_train, "also_train")
    chosen = all_layers(model) if layers is None else _matching(model, layers, "layers")
    candidates = [layer for layer in chosen if layer not in trained and not child_layers(layer)]
    reasons = {layer: _obstacle(layer, rank) for layer in candidates if layer.weights or hasattr(layer, "enable_lora")}
    adapted = [layer for layer, reason in reasons.items() if reason is None]
    skipped = {_path(layer): reason for layer, reason in reasons.items() if reason is not None}
    if not adapted:
        raise ValueError(
            f"Expected layers that can take LoRA in {model.name!r}; received {skipped or 'none'}. A layer around a "
            "TensorFlow SavedModel has none inside: use `backbones.from_applications` or `backbones.from_keras_hub`."
        )

    model.trainable = True  # containers too: a frozen one hides what trains inside
    for layer in all_layers(model):
        if not child_layers(layer):
            layer.trainable = False
    for weight in model.weights:
        weight.trainable = False
    for layer in trained:
        layer.trainable = True
    for layer in adapted:
        layer.trainable = True  # before `enable_lora`, or the kernel thaws
        layer.enable_lora(rank, lora_alpha=alpha)
        for weight in layer.weights:
            weight.trainable = _is_factor(weight)
    model.compiled = False  # its optimizer would hold other variables
    return Attached(tuple(layer.path for layer in adapted), skipped, parameters(model))


def parameters(model):
    """Counts the parameters of A and B, and of the model without them; returns `Parameters`."""
    factors = [factor for layer in _attached(model) for factor in _factors(layer)]
    return Parameters(*(sum(math.prod(w.shape) for w in weights) for weights in (factors, _plain(model))))


def dead_layers(model):
    """Returns the paths of layers whose A and B are both zero, so that neither gets a gradient.

    Keras loads every layer with LoRA so, the kernel being merged: `merge` the model and attach again.
    """
    return [layer.path for layer in _attached(model) if not any(f.numpy().any() for f in _factors(layer))]


def save(model, path, overwrite=False):
    """Writes what an attached model has learned as one small file, in NumPy's npz format.

    The file holds A, B, rank and alpha of each layer, all else that trains (head, normalisation and its moving
    statistics), the states of random seeds and of methods (`step`), the optimizer's state where the model is compiled
    and has trained, and a digest of the frozen weights, which are not in it. Written beside and renamed when complete.

    Args:
        model: model with LoRA.
        path: file to write, `adapter.npz`.
        overwrite: bool, whether a file there may be replaced.

    Raises:
        ValueError: no LoRA; a kernel that was thawed after `attach`; dead layers.
        FileExistsError: the file exists, unless `overwrite`.
    """
    path = pathlib.Path(path)
    layers = _attached(model)
    if not layers:
        raise ValueError(f"Expected a model with LoRA; received {model.name!r} without. Call `attach` first.")
    thawed = [layer.path for layer in layers if _kernel(layer).trainable]
    if thawed:
        raise ValueError(
            f"Expected frozen kernels under LoRA; those of {thawed} train, since `trainable` was set after `attach`."
        )
    if dead_layers(model):
        raise ValueError(
            f"Expected layers that can learn; A and B are zero in {dead_layers(model)}, as Keras loads them. "
            "Call `merge`, then `attach`."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected a new file; {path} exists. Pass `overwrite=True` to replace it.")
    kept = {id(weight) for weight in model.trainable_weights}
    kept |= {id(w) for layer in all_layers(model) if layer.trainable for w in own_state(layer)}
    weights = [i for i, weight in enumerate(_plain(model)) if id(weight) in kept]
    optimizer = model.optimizer if model.compiled and model.optimizer.built else None
    positions = {layer: position for position, layer in enumerate(_with_weights(model))}
    meta = {
        "layers": [[positions[layer], layer.path, layer.lora_rank, layer.lora_alpha] for layer in layers],
        "weights": weights,
        "layers_train": [layer.trainable for layer in positions],
        "weights_train": [weight.trainable for weight in _plain(model)],
        "architecture": _architecture(model),
        "base": _digest(model, weights),
        "optimizer": optimizer and type(optimizer).__name__,
    }
    variables = _held(model, meta) | _seeds(model) | (_slots(optimizer) if optimizer else {})
    arrays = {name: _savable(variable.numpy()) for name, variable in variables.items()}
    write_whole(path, functools.partial(np.savez, **{META: json.dumps(meta)}, **arrays))


def load(model, path):
    """Loads what `save` wrote into a model with the same frozen weights, and attaches LoRA as it was, where it is not.

    Training goes on as if never interrupted if the model was compiled, and not trained, before this call: then the
    optimizer's state is restored too, its learning rate included. In a model that is not compiled the rest is.

    Args:
        model: built model of the same architecture and frozen weights, without LoRA or with the same.
        path: file from `save`.

    Returns:
        Whether the optimizer's state was restored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no adapter file; another architecture, other frozen weights, other LoRA; a model compiled with
            another optimizer, or with one that has trained other variables.
    """
    meta, arrays = _read(path)
    _check_base(model, meta, path)
    optimizer = model.optimizer if model.compiled else None
    if optimizer and optimizer.built and not _attached(model):
        raise ValueError("Expected a new optimizer, as the variables change; received a trained one. Compile again.")
    if optimizer and meta["optimizer"] and type(optimizer).__name__ != meta["optimizer"]:
        raise ValueError(
            f"Expected the optimizer {meta['optimizer']}, whose state {path} holds; received "
            f"{type(optimizer).__name__}. To start anew with another one, load first and compile then."
        )
    _arrange(model, meta)
    variables = _held(model, meta) | _seeds(model)
    if optimizer and meta["optimizer"]:
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        variables |= _slots(optimizer)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    saved = {name: array.shape for name, array in arrays.items() if optimizer or not name.startswith("optimizer_")}
    if shapes != saved:
        wrong = sorted(name for name in shapes | saved if shapes.get(name) != saved.get(name))
        raise ValueError(f"Expected the variables that {path} holds; the model or its optimizer differs in {wrong}.")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return bool(optimizer and meta["optimizer"])


def merge(model):
    """Returns a new model of the same class with kernels W + alpha / rank * A B, computed in float32, and no LoRA.

    It is not compiled, and all of it is trainable, as in a newly made model. `model` stays as it is. Models that Keras
    loaded with dead layers merge too: their kernels are merged already.

    Args:
        model: model with LoRA whose config can be read: Sequential, functional, nested, a `TransferModel`.

    Raises:
        ValueError: no LoRA; quantised layers, which merging would round once more; a class whose `get_config` does
            not make the same weights.
    """
    layers = {id(_kernel(layer)): layer for layer in _attached(model)}
    if not layers:
        raise ValueError(f"Expected a model with LoRA; received {model.name!r} without.")
    quantized = [_path(layer) for layer in all_layers(model) if layer.quantization_mode]
    if quantized:
        raise ValueError(f"Expected layers that are not quantised, since merging rounds again; received {quantized}.")
    merged = type(model).from_config(_without_lora(model.get_config()))
    if not merged.built:
        merged.build_from_config(model.get_build_config() or {})
    old, new = _plain(model), merged.weights
    if [w.shape for w in old] != [w.shape for w in new]:
        raise ValueError(f"Expected `{type(model).__name__}.get_config` to make the same weights; it makes others.")
    for before, after in zip(old, new):
        after.assign(_merged(layers[id(before)]) if id(before) in layers else before.numpy())
    return merged


class AdapterBank(keras.Model):
    """Serves several adapters over one frozen base, chosen for each row by an `adapter_id`.

    Base variables are there once; A, B, head, normalisation and statistics once for each adapter. Rows are sorted by
    id inside the graph and run through their adapter. For inference and export only; needs TensorFlow.

    Input: `{input_name: (batch, ...), "adapter_id": (batch,) int}`, ids from 0 in the order of `paths`; others
    raise `tf.errors.InvalidArgumentError`. Output: the model's, one tensor (batch, ...).

    Args:
        model: built model without LoRA, as for `load`. The bank takes it over.
        paths: adapter files from `save`, one or more, on the same base with LoRA of the same rank on the same layers,
            and the same other layers trained. Their alphas may differ.
        input_name: name of the model's input.

    Raises:
        ValueError: adapters that do not fit the model, as `load`, or differ from one another.

    Example:
    ```python
    bank = lora.AdapterBank(base, ["german.npz", "french.npz"])
    x = {"images": images, "adapter_id": np.array([0, 1], "int32")}
    kt.export(bank, "saved_models/letters", x)
    ```
    """

    def __init__(self, model, paths, input_name="images", **kwargs):
        super().__init__(dtype="float32", **kwargs)  # parts of the model keep their own policies
        files = [_read(path) for path in paths]
        if not files or _attached(model):
            raise ValueError(f"Expected a model without LoRA and 1 or more adapters; received {model.name!r}, {paths}.")
        for (meta, _), path in zip(files, paths):
            _check_base(model, meta, path)
            if _kind(meta) != _kind(files[0][0]):
                raise ValueError(
                    f"Expected adapters with the same rank, layers and trained weights; {path} and {paths[0]} differ."
                )
        self.meta = {**files[0][0], "layers": [[*layer[:3], layer[2]] for layer in files[0][0]["layers"]]}
        _arrange(model, self.meta)
        model.trainable = False
        self.model, self.input_name, self.adapters = model, input_name, []
        for number, (meta, arrays) in enumerate(files):
            for layer, (_, _, rank, alpha) in enumerate(meta["layers"]):
                arrays[f"b_{layer}"] *= alpha / rank
            own = []
            for name, variable in _held(model, meta).items():
                weight = self.add_weight(
                    variable.shape, "zeros", variable.dtype, trainable=False, name=f"adapter_{number}_{name}"
                )
                weight.assign(arrays[name])
                own.append(weight)
            self.adapters.append(own)
        self.supports_jit = False  # XLA knows no partitions of unknown size
        self.built = True

    def call(self, inputs, training=False):
        """Computes the model's output for each row with its adapter; never in training mode."""
        import tensorflow as tf

        x, ids, count = inputs[self.input_name], inputs["adapter_id"], len(self.adapters)
        message = f"Expected adapter_id from 0 to {count - 1}."
        checks = [
            tf.debugging.assert_non_negative(ids, message),
            tf.debugging.assert_less(ids, tf.cast(count, ids.dtype), message),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            parts = tf.dynamic_partition(tf.range(tf.size(ids)), tf.cast(ids, "int32"), count)
        specs = keras.tree.map_structure(lambda value: keras.KerasTensor((None, *value.shape[1:]), value.dtype.name), x)
        output = self.model.compute_output_spec(specs, training=False)

        def run(part, own):
            values = [weight.value for weight in own]
            with keras.StatelessScope(list(zip(_held(self.model, self.meta).values(), values))):
                return self.model(keras.tree.map_structure(lambda value: tf.gather(value, part), x), training=False)

        def nothing():  # not only to save time: convolutions of no rows can fail
            return tf.zeros((0, *output.shape[1:]), output.dtype)

        outputs = [
            tf.cond(tf.size(part) > 0, functools.partial(run, part, own), nothing)
            for part, own in zip(parts, self.adapters)
        ]
        return tf.dynamic_stitch(parts, outputs)


# Layers and weights. Positions are counted rather than paths compared: names that Keras makes up differ between twins.


def _with_weights(model):
    return [layer for layer in all_layers(model) if layer.weights]


def _attached(model):
    return [layer for layer in all_layers(model) if getattr(layer, "lora_enabled", False)]


def _path(layer):
    return layer.path or layer.name


def _matching(model, patterns, argument):
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = [layer for layer in all_layers(model) if re.fullmatch(pattern, _path(layer))]
        if not matches:
            known = ", ".join(_path(layer) for layer in _with_weights(model))
            raise ValueError(f"Expected `{argument}` to match layers of {known}; received {pattern!r}.")
        found += [layer for match in matches for layer in all_layers(match)]
    return list(dict.fromkeys(found))


def _obstacle(layer, rank):
    """Why a layer cannot take LoRA; None if it can."""
    if not hasattr(layer, "enable_lora"):
        return f"Keras has no LoRA for {type(layer).__name__}"
    if not layer.weights:
        return "not built"
    if layer.quantization_mode:
        return "quantised"
    if getattr(layer, "kernel_constraint", None) or getattr(layer, "embeddings_constraint", None):
        return "has a constraint on its kernel"
    shape = tuple(_kernel(layer).shape)
    full = min(math.prod(shape[:-1]), shape[-1])
    return f"rank {rank} is above {full}, the most that a kernel {shape} can have" if rank > full else None


def _kernel(layer):
    return layer.weights[0]  # `layer.kernel` would be the merged one


def _is_factor(weight):
    return weight.name.startswith("lora_")


def _factors(layer):
    return [weight for weight in layer.weights if _is_factor(weight)]


def _merged(layer):
    a, b = (factor.numpy() for factor in _factors(layer))
    return _kernel(layer).numpy().astype("float32") + layer.lora_alpha / layer.lora_rank * (a @ b)


def _plain(model):
    """The weights without A and B, in an order that attaching does not change."""
    factors = {id(factor) for layer in _attached(model) for factor in _factors(layer)}
    return [weight for weight in model.weights if id(weight) not in factors]


def _without_lora(config):
    if isinstance(config, dict):
        dropped = ("lora_rank", "lora_alpha", "trainable")
        return {key: _without_lora(value) for key, value in config.items() if key not in dropped}
    return [_without_lora(value) for value in config] if isinstance(config, list) else config


# The adapter file.


def _held(model, meta):
    """`{name in the file: variable}` of what an adapter changes in the model's weights."""
    plain = _plain(model)
    held = {f"weight_{i}": plain[i] for i in meta["weights"]}
    for number, layer in enumerate(_attached(model)):
        held[f"a_{number}"], held[f"b_{number}"] = _factors(layer)
    return held


def _seeds(model):
    weights = {id(weight) for weight in model.weights}
    return {f"seed_{i}": v for i, v in enumerate(v for v in model.variables if id(v) not in weights)}


def _slots(optimizer):
    return {f"optimizer_{i}": variable for i, variable in enumerate(optimizer.variables)}


def _savable(array):
    return array.astype("float32") if array.dtype.name == "bfloat16" else array  # which npz does not know


def _architecture(model):
    return [type(layer).__name__ for layer in _with_weights(model)] + [str(tuple(w.shape)) for w in _plain(model)]


def _digest(model, weights):
    """SHA-256 of all weights but those of the indices `weights`, A and B."""
    digest, left_out = hashlib.sha256(), set(weights)
    for i, weight in enumerate(_plain(model)):
        if i not in left_out:
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _kind(meta):
    return [[position, rank] for position, _, rank, _ in meta["layers"]], meta["weights"]


def _read(path):
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected an adapter file; received {path}, which does not exist.")
    if zipfile.is_zipfile(path):
        with np.load(path) as file:
            if META in file.files:
                arrays = dict(file)
                return json.loads(str(arrays.pop(META))), arrays
    raise ValueError(f"Expected an adapter file from `lora.save`; received {path}, which is none.")


def _check_base(model, meta, path):
    if not model.built:
        raise ValueError(f"Expected a built model; received {model.name!r}, which has seen no batch yet.")
    for saved, here in itertools.zip_longest(meta["architecture"], _architecture(model)):
        if saved != here:
            raise ValueError(f"Expected the architecture of {path}, with {saved}; {model.name!r} has {here} there.")
    if _digest(model, meta["weights"]) != meta["base"]:
        raise ValueError(f"Expected the frozen weights that {path} was trained on; those of {model.name!r} differ.")
    layers = enumerate(_with_weights(model))
    here = [[i, layer.lora_rank, layer.lora_alpha] for i, layer in layers if getattr(layer, "lora_enabled", False)]
    if here and here != [[position, rank, alpha] for position, _, rank, alpha in meta["layers"]]:
        raise ValueError(f"Expected LoRA as in {path}, or none; {model.name!r} has other layers, rank or alpha.")


def _arrange(model, meta):
    """Attaches LoRA and freezes as the file says."""
    layers = _with_weights(model)
    flags = zip(layers, meta["layers_train"], strict=True)
    for layer, train in sorted(
        flags, key=lambda pair: not child_layers(pair[0])
    ):  # the setter of a container goes down
        layer.trainable = train
    for position, _, rank, alpha in meta["layers"]:
        if not layers[position].lora_enabled:
            layers[position].enable_lora(rank, lora_alpha=alpha)
    for weight, train in zip(_plain(model), meta["weights_train"], strict=True):
        weight.trainable = train
