"""The life of LoRA over Keras's own `enable_lora`: attach, save, load, resume, merge; `AdapterBank` serves several."""

import math
import re
from typing import NamedTuple

from keras_transfer.finetuning.adapter_file import load, save
from keras_transfer.finetuning.lora_layers import (
    as_keras_made,
    attached_layers,
    dead_layers,
    enable,
    factors_of,
    is_factor,
    keep_still,
    kernel_of,
    layers_with_weights,
    obstacle,
    path_of,
    plain_weights,
)
from keras_transfer.keras_internals import all_layers, child_layers

__all__ = ["Attached", "Parameters", "attach", "dead_layers", "load", "merge", "parameters", "save"]


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
        """What part of the model the adapter is, `adapter / model`."""
        return self.adapter / self.model


class Attached(NamedTuple):
    """Says what `attach` did; `print` it.

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

    Setting `trainable` of the model or of a layer with LoRA afterwards thaws the kernels; `save` refuses that.

    Keras's own files, `.keras` and `.weights.h5`, keep kernels, A and B as they are, so that `BackupAndRestore` and
    `ModelCheckpoint` resume exactly: attach to a model made as before, compile it, and load the weights. What was saved
    without LoRA does not load into a model with it, nor the other way round. `load_model` brings LoRA back where the
    model's config states every layer. It raises an error where a layer with LoRA lies inside one that its config does
    not describe, as in `MultiHeadAttention` and in backbones of keras_hub: make the model by code, attach, and call its
    `load_weights` with the `.keras` file. Layers that got LoRA by Keras's own `enable_lora` load dead (`dead_layers`)
    and never learn again: `merge` the model and attach again. `save` and `load` keep the adapter alone.

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
    if attached_layers(model):
        raise ValueError(f"Expected a model without LoRA; {attached_layers(model)[0].path} has it. Call `merge` first.")
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"Expected an int of 1 or more as rank; received {rank!r}.")
    alpha = float(rank if alpha is None else alpha)
    if not alpha > 0:
        raise ValueError(f"Expected an alpha above 0; received {alpha!r}.")
    trained = _matching(model, also_train, "also_train")
    chosen = all_layers(model) if layers is None else _matching(model, layers, "layers")
    candidates = [layer for layer in chosen if layer not in trained and not child_layers(layer)]
    reasons = {layer: obstacle(layer, rank) for layer in candidates if layer.weights or hasattr(layer, "enable_lora")}
    adapted = [layer for layer, reason in reasons.items() if reason is None]
    skipped = {path_of(layer): reason for layer, reason in reasons.items() if reason is not None}
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
        enable(layer, rank, alpha)
        for weight in layer.weights:
            weight.trainable = is_factor(weight)
    keep_still(model)
    model.compiled = False  # its optimizer would hold other variables
    return Attached(tuple(layer.path for layer in adapted), skipped, parameters(model))


def parameters(model):
    """Returns the `Parameters` of a model: how many A and B have, and how many the model has without them.

    Args:
        model: built `keras.Model`, with LoRA or without.
    """
    factors = [factor for layer in attached_layers(model) for factor in factors_of(layer)]
    return Parameters(*(sum(math.prod(w.shape) for w in weights) for weights in (factors, plain_weights(model))))


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
    layers = {id(kernel_of(layer)): layer for layer in attached_layers(model)}
    if not layers:
        raise ValueError(f"Expected a model with LoRA; received {model.name!r} without.")
    quantized = [path_of(layer) for layer in all_layers(model) if layer.quantization_mode]
    if quantized:
        raise ValueError(f"Expected layers that are not quantised, since merging rounds again; received {quantized}.")
    undo = as_keras_made(model)
    try:
        config = model.get_config()
    finally:
        undo()
    merged = type(model).from_config(_without_lora(config))
    if not merged.built:
        merged.build_from_config(model.get_build_config() or {})
    old, new = plain_weights(model), merged.weights
    if [w.shape for w in old] != [w.shape for w in new]:
        raise ValueError(f"Expected `{type(model).__name__}.get_config` to make the same weights; it makes others.")
    for before, after in zip(old, new):
        after.assign(_merged(layers[id(before)]) if id(before) in layers else before.numpy())
    return merged


def _matching(model, patterns, argument):
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = [layer for layer in all_layers(model) if re.fullmatch(pattern, path_of(layer))]
        if not matches:
            known = ", ".join(path_of(layer) for layer in layers_with_weights(model))
            raise ValueError(f"Expected `{argument}` to match layers of {known}; received {pattern!r}.")
        found += [layer for match in matches for layer in all_layers(match)]
    return list(dict.fromkeys(found))


def _merged(layer):
    a, b = (factor.numpy() for factor in factors_of(layer))
    return kernel_of(layer).numpy().astype("float32") + layer.lora_alpha / layer.lora_rank * (a @ b)


def _without_lora(config):
    if isinstance(config, dict):
        dropped = ("lora_rank", "lora_alpha", "trainable")
        return {key: _without_lora(value) for key, value in config.items() if key not in dropped}
    return [_without_lora(value) for value in config] if isinstance(config, list) else config
