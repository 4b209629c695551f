"""What of a model LoRA is on: layers, their kernels and factors, and the weights besides.

Positions are counted rather than paths compared: names that Keras makes up differ between twins.
"""

import functools
import math

import keras
import numpy as np

from keras_transfer.keras_internals import all_layers, child_layers


def dead_layers(model):
    """Returns the paths of layers whose A and B are both zero, so that neither gets a gradient.

    Keras loads every layer with LoRA so, the kernel being merged: `merge` the model and attach again.

    Args:
        model: built `keras.Model`.
    """
    return [layer.path for layer in attached_layers(model) if not any(f.numpy().any() for f in factors_of(layer))]


def attached_layers(model):
    """Returns the layers that have LoRA."""
    return [layer for layer in all_layers(model) if getattr(layer, "lora_enabled", False)]


def layers_with_weights(model):
    """Returns the layers that have weights, those of layers inside too: a file knows layers by their places here."""
    return [layer for layer in all_layers(model) if layer.weights]


def path_of(layer):
    """Returns the path of a layer, which one that is not built lacks: then its name."""
    return layer.path or layer.name


def kernel_of(layer):
    """Returns the frozen weight under LoRA; `layer.kernel` would be the merged one."""
    return layer.weights[0]


def is_factor(weight):
    """Returns whether a weight is A or B."""
    return weight.name.startswith("lora_")


def factors_of(layer):
    """Returns A and B of a layer."""
    return [weight for weight in layer.weights if is_factor(weight)]


def plain_weights(model):
    """Returns the weights without A and B, in an order that attaching does not change."""
    factors = {id(factor) for layer in attached_layers(model) for factor in factors_of(layer)}
    return [weight for weight in model.weights if id(weight) not in factors]


def obstacle(layer, rank):
    """Says why a layer cannot take LoRA; returns None if it can."""
    if not hasattr(layer, "enable_lora"):
        return f"Keras has no LoRA for {type(layer).__name__}"
    if not layer.weights:
        return "not built"
    if layer.quantization_mode:
        return "quantised"
    if getattr(layer, "kernel_constraint", None) or getattr(layer, "embeddings_constraint", None):
        return "has a constraint on its kernel"
    shape = tuple(kernel_of(layer).shape)
    full = min(math.prod(shape[:-1]), shape[-1])
    return f"rank {rank} is above {full}, the most that a kernel {shape} can have" if rank > full else None


def enable(layer, rank, alpha):
    """Gives a layer LoRA that Keras's own files keep: `W`, A and B as they are, and which of its weights train.

    Keras's would store the merged kernel and load zeros as A and B, which never learn again; and a model whose config
    does not state the layers inside, as `MultiHeadAttention` and the backbones of keras_hub, would come back without
    LoRA, all of it training. With these, such a file does not load; it loads into a model with LoRA attached.
    """
    layer.enable_lora(rank, lora_alpha=alpha)
    object.__setattr__(layer, "__class__", _keeping(type(layer)))
    layer.quantize = functools.partial(
        layer.quantize, type_check=False
    )  # bound to Keras's own, which asks for its class


def keep_still(model):
    """Freezes the layers that hold others of which none trains, in Keras's files too.

    A file may know of what is inside no more than that: so the backbones of keras_hub, and `MultiHeadAttention`, which
    Keras 3.15 thaws all the same when it loads it.
    """
    for layer in reversed(all_layers(model)):
        leaves = [inner for inner in all_layers(layer) if not child_layers(inner)]
        trains = any(leaf.trainable and leaf.weights for leaf in leaves) or any(
            weight.trainable for weight in layer.weights
        )
        if child_layers(layer) and not trains:
            layer.trainable = False
            if type(layer) in _ATTENTIONS:
                object.__setattr__(layer, "__class__", _ATTENTIONS[type(layer)])


def as_keras_made(model):
    """Makes all layers those of Keras's own classes again, and returns a function that takes it back."""
    classes = [(layer, type(layer)) for layer in all_layers(model) if hasattr(type(layer), "plain")]
    for layer, kind in classes:
        object.__setattr__(layer, "__class__", kind.plain)

    def undo():
        for layer, kind in classes:
            object.__setattr__(layer, "__class__", kind)

    return undo


class _KeepsLora:
    """What a layer's class lacks to keep LoRA in Keras's files."""

    def __init__(self, *args, still=(), lora_alpha=None, **kwargs):
        super().__init__(*args, lora_alpha=lora_alpha, **kwargs)
        self.still, self.given_alpha = list(still), lora_alpha

    def build(self, input_shape=None):
        """Builds the layer and what is attached to it."""
        super().build(input_shape)
        if self.given_alpha is not None:
            self.lora_alpha = self.given_alpha  # Keras's `build` takes the rank for it
        for index in self.still:
            self.weights[index].trainable = False

    def quantize(self, mode=None, type_check=True, **kwargs):
        """Quantises the layer as one of Keras's own class, which refuses subclasses that it does not know."""
        return super().quantize(mode, type_check=False, **kwargs)

    def get_config(self):
        """Returns the config, with the weights that do not train."""
        still = [index for index, weight in enumerate(self.weights) if self.trainable and not weight.trainable]
        return {**super().get_config(), "still": still}

    def save_own_variables(self, store):
        """Saves all weights as they are; under names at which no layer without LoRA finds what it looks for."""
        store["lora_alpha"] = np.float32(self.lora_alpha)
        for index, weight in enumerate(self.weights):
            store[f"lora_{index}"] = weight

    def load_own_variables(self, store):
        """Loads what `save_own_variables` saved; all of it or nothing."""
        saved = set(store.keys())
        if saved != {"lora_alpha", *(f"lora_{index}" for index in range(len(self.weights)))}:
            raise ValueError(
                f"Expected A and B of the LoRA on {self.path!r} in the file; received {sorted(saved)}. Load weights of "
                "a model without LoRA before `attach`; merged kernels of Keras's own LoRA leave nothing to train on."
            )
        values = [store[f"lora_{index}"] for index in range(len(self.weights))]
        shapes = [(tuple(value.shape), tuple(weight.shape)) for value, weight in zip(values, self.weights)]
        if any(theirs != ours for theirs, ours in shapes) or float(store["lora_alpha"][()]) != self.lora_alpha:
            raise ValueError(
                f"Expected the LoRA of {self.path!r}, alpha {self.lora_alpha} and weights of the shapes "
                f"{[ours for _, ours in shapes]}; received alpha {float(store['lora_alpha'][()])} and "
                f"{[theirs for theirs, _ in shapes]}."
            )
        for weight, value in zip(self.weights, values):
            weight.assign(value)


class _StaysStill:
    """What an attention's class lacks to come back frozen from Keras's files: its layers are made after the flag."""

    def build_from_config(self, config):
        """Builds the layer, frozen where it was."""
        super().build_from_config(config)
        self.trainable = bool(self.trainable)


def _registered(kind, extra):
    """Returns a class of layers that differ from those of `kind` by `extra` alone, known to Keras's files."""
    kept = type(kind.__name__, (extra, kind), {"__module__": __name__, "__doc__": kind.__doc__, "plain": kind})
    own = kind.__module__.partition(".")[0] == "keras"
    name = kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"
    return keras.saving.register_keras_serializable("keras_transfer.lora", name)(kept)


@functools.cache
def _keeping(kind):
    return kind if issubclass(kind, _KeepsLora) else _registered(kind, _KeepsLora)


for _kind in ("Conv1D", "Conv2D", "Conv3D", "Dense", "EinsumDense", "Embedding"):  # before a file asks for them
    _keeping(getattr(keras.layers, _kind))
_ATTENTIONS = {
    kind: _registered(kind, _StaysStill) for kind in (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
}
