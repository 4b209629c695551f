"""What of a model LoRA is on: layers, their kernels and factors, and the weights besides.

Positions are counted rather than paths compared: names that Keras makes up differ between twins.
"""

from keras_transfer.keras_internals import all_layers


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
