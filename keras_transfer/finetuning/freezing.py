"""What of a model trains: patterns, normalisations alone, biases alone, frozen BatchNormalization.

All of these work in place on any built `keras.Model` or layer, with nested models. Call `compile` afterwards: what was
compiled before keeps training what trained then. Thaw everything with `train_only(model, ".*")`;
`model.trainable = True` does nothing on TensorFlow where the model says True already, whatever its layers say.

A `.keras` file keeps of each layer whether it trains, and no more. Where only some weights of a layer train (as with
`train_biases`), or only some layers inside one whose config does not describe them (a backbone of keras_hub), all of it
trains once the file is loaded; so does every `MultiHeadAttention`, which Keras 3.15 thaws when it loads it. Nothing
warns of that: call the function again on the loaded model, then `compile`, which starts a new optimizer. To resume such
training exactly, make the model by code as before, compile it, call `model.optimizer.build(model.trainable_variables)`
and load a `.weights.h5` checkpoint.

BatchNormalization whose layer is frozen is in inference mode: it uses its statistics and does not move them. One whose
gamma or beta these functions let train normalises by the batch and moves its statistics. To train gamma and beta on
frozen statistics, freeze the layer, then set `layer.gamma.trainable = layer.beta.trainable = True`, or call the
backbone with `training=False` in the `call` of your own model; in functional models `fit` overrides that argument.

Patterns are regular expressions that match the whole `path` of a variable (`re.fullmatch`, as in Keras's
`OptimizerMap`), such as `conv_pw_1_bn/gamma`; `finetuning.summary` shows the paths. The names of the models around a
layer may be missing from its paths after a model is loaded, so begin with `.*` and name the layer: `.*conv_pw_1_bn/.*`.
"""

import re

import keras

from keras_transfer.keras_internals import all_layers, child_layers, own_parameters


def train_only(model, patterns):
    """Lets the variables that match a pattern train and freezes everything else.

    What was frozen before does not count: to leave a part alone, such as a teacher, pass the part that shall learn. The
    weights under a LoRA adapter (`enable_lora`) stay frozen whatever the patterns say; the adapter's own match by their
    names, such as `.*/lora_kernel_[ab]`.

    Args:
        model: built `keras.Model` or layer.
        patterns: regular expression, or list of them, that match whole paths of variables.

    Raises:
        ValueError: if a pattern matches no variable that can train.

    Example:

    ```python
    train_only(model, [".*conv_(dw|pw)_1[23].*", ".*logits/.*"])
    freeze_batch_norm(model)
    model.compile(...)
    ```
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    variables = _can_train(model)
    found = {pattern: [v for v in variables if re.fullmatch(pattern, v.path)] for pattern in patterns}
    lost = [pattern for pattern, matches in found.items() if not matches]
    if lost or not patterns:
        raise ValueError(
            f"Expected patterns that match whole paths of variables in {model.name!r}; received {lost or patterns}, "
            f"which match none of its {len(variables)}, such as {[v.path for v in variables[:8]]}. "
            "A model that is not built has none yet."
        )
    _train(model, sum(found.values(), []))


def train_norms(model):
    """Lets only the scales and offsets of normalisations train.

    Those are the weights named `gamma` or `beta` (so the gamma of ConvNeXt's LayerScale too), and all that can train in
    a layer whose class name contains "Norm", such as the scale of `RMSNormalization`.

    Args:
        model: built `keras.Model` or layer.

    Raises:
        ValueError: if there are none.

    Reference:
        Frankle et al., Training BatchNorm and Only BatchNorm, ICLR 2021, arXiv:2003.00152.
    """
    norms = {id(v) for layer in all_layers(model) if "Norm" in type(layer).__name__ for v in layer.variables}
    _train_some(model, lambda v: id(v) in norms or _name(v) in ("gamma", "beta"), "gamma, beta, scale")


def train_biases(model):
    """Lets only biases and the offsets of normalisations train (BitFit): the weights named `bias`, `biases` or `beta`.

    Args:
        model: built `keras.Model` or layer.

    Raises:
        ValueError: if there are none.

    Reference:
        Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models,
        ACL 2022, arXiv:2106.10199.
    """
    _train_some(model, lambda v: _name(v) in ("bias", "biases", "beta"), "bias, beta")


def freeze(model):
    """Freezes all of a model, the statistics of its BatchNormalization too.

    Unlike `model.trainable = False`, it also reaches layers that were thawed inside a frozen model.

    Args:
        model: `keras.Model` or layer.
    """
    for layer in all_layers(model):
        _freeze_layer(layer)


def freeze_batch_norm(model):
    """Freezes every BatchNormalization, in nested models too: gamma, beta and statistics stay as they are in `fit`.

    Call it after the functions that let things train, which thaw what they choose. It calls the method
    `freeze_batch_norm()` of layers that hold a whole network and have one, such as those of `backbones.from_hub`.

    Args:
        model: `keras.Model` or layer.
    """
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            _freeze_layer(layer)
        elif hasattr(layer, "freeze_batch_norm"):
            layer.freeze_batch_norm()


def _train_some(model, choose, names):
    chosen = [variable for variable in _can_train(model) if choose(variable)]
    if not chosen:
        raise ValueError(f"Expected a built model with weights such as {names}; received {model.name!r} without any.")
    _train(model, chosen)


def _train(model, chosen):
    chosen = {id(variable) for variable in chosen}
    layers = all_layers(model)
    for layer in layers:
        if child_layers(layer):
            layer.trainable = True  # first, since it reaches down
    for layer in layers:
        own = own_parameters(layer)
        if not child_layers(layer):
            layer.trainable = any(id(variable) in chosen for variable in own)
        for variable in own:
            variable.trainable = id(variable) in chosen
    for layer in layers:  # a file may know of a layer that holds others no more than that it does not train
        inner = {id(variable) for part in all_layers(layer) for variable in own_parameters(part)}
        if child_layers(layer) and not inner & chosen:
            layer.trainable = False


def _freeze_layer(layer):
    layer.trainable = False
    for variable in own_parameters(layer):  # Keras skips them where the layer says False already
        variable.trainable = False


def _can_train(model):
    """Returns all variables that could train: no statistics, nothing under a LoRA adapter, which Keras would thaw."""
    variables = {}
    for layer in all_layers(model):
        under = ("_kernel", "_embeddings") if getattr(layer, "lora_enabled", False) else ()
        under = {id(getattr(layer, name, None)) for name in under}
        variables.update({id(v): v for v in own_parameters(layer) if id(v) not in under})
    return list(variables.values())


def _name(variable):
    return variable.path.rpartition("/")[2]
