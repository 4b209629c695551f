"""Ways to run, hold still, copy and follow a network, and checks of what is passed as one."""

import keras
import numpy as np
from keras import layers, ops

from keras_transfer.checks import check_choice, check_rows, received
from keras_transfer.keras_internals import all_layers, made_by

_DROPOUT = (
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
PASSES = ("joint", "separate")
_STAYS = "stays"  # of a layer: what lies between 0 and 1 before it does so behind it
_PASSING = (
    *_DROPOUT,
    *(layers.InputLayer, layers.Identity, layers.ActivityRegularization, layers.Masking, layers.GaussianNoise),
    *(layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector),
    *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
    *(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D, layers.Resizing),
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.Average, layers.Maximum, layers.Minimum, layers.Concatenate),
)
# `keras.ops` in a functional model, whose classes have no public names.
_PASSING_OPERATIONS = {"Cast", "ExpandDims", "GetItem", "Mean", "Reshape", "Squeeze", "Transpose"}
_SQUASHING = {"HardSigmoid", "LogSigmoid", "Sigmoid", "Softmax", "Sparsemax"}
_SQUASHING_FUNCTIONS = {"hard_sigmoid", "log_sigmoid", "sigmoid", "softmax", "sparsemax"}


def run_pair(network, first, second, passes="joint", training=False, names=("first", "second")):
    """Runs a network on two batches and returns the output of each.

    Args:
        network: network, or function of `(x, training)`, from an input to an output or a nested structure of outputs
            with one row for each example.
        first: input, an array or a nested structure of arrays.
        second: input of the same structure; its number of rows may differ.
        passes: `"joint"`: one pass over all rows, so that BatchNormalization normalises them by shared statistics and
            moves its averages once. `"separate"`: one pass for each batch, normalised by its own statistics; the
            moving averages, which serve, move twice and mix both.
        training: whether this is a training step.
        names: pair of str, what an error calls the two inputs.

    Returns:
        The outputs of `first` and of `second`.

    Raises:
        ValueError: if `passes` is neither, or rows of the two have not the same shape.
    """
    check_rows(first, second, names)
    if check_choice(passes, "passes", PASSES) == "separate":
        return network(first, training=training), network(second, training=training)
    rows = ops.shape(keras.tree.flatten(first)[0])[0]
    both = keras.tree.map_structure(lambda a, b: ops.concatenate([a, b]), first, second)
    outputs = network(both, training=training)
    return (
        keras.tree.map_structure(lambda output: output[:rows], outputs),
        keras.tree.map_structure(lambda output: output[rows:], outputs),
    )


def frozen(network, x, training=False):
    """Runs a network whose weights count as constants: gradients reach the input and not the weights.

    With it two opposed aims share one optimizer: what a discriminator learns takes `stop_gradient(x)`, what fools it
    takes `frozen(discriminator, x)`.

    Args:
        network: built network.
        x: its input.
        training: bool, whether this is a training step. BatchNormalization then normalises by the batch; its averages,
            and the states of random seeds, do not move.

    Returns:
        The network's output.
    """
    weights = [ops.stop_gradient(ops.convert_to_tensor(v)) for v in network.trainable_variables]
    state = [ops.convert_to_tensor(v) for v in network.non_trainable_variables]
    return network.stateless_call(weights, state, x, training=training)[0]


def copy_network(network):
    """Returns a built network of the same kind with copies of its weights.

    Args:
        network: built network.

    Raises:
        ValueError: if it is not built.
    """
    if not network.built:
        raise ValueError(f"Expected a built network to copy; received {network.name!r}: begin it with `keras.Input`.")
    copy = type(network).from_config(network.get_config())
    if not copy.built:
        copy.build_from_config(network.get_build_config())
    copy.set_weights(network.get_weights())
    return copy


def follower(network):
    """Returns a copy of a network that learns by no gradient and draws nothing: a teacher, or an average to serve.

    Run it with `training=True` where BatchNormalization shall normalise by the batch. Its variables do not train; its
    layers stay trainable, since what is not puts BatchNormalization into inference mode. So setting `trainable = True`
    of a model around it would make it learn by gradient.

    Args:
        network: built network.

    Raises:
        ValueError: if it is not built.
    """
    copy = copy_network(network)
    for variable in copy.variables:
        variable.trainable = False
    for layer in all_layers(copy):
        if isinstance(layer, _DROPOUT):
            layer.rate = 0.0
        elif isinstance(layer, layers.GaussianNoise):
            layer.stddev = 0.0
    return copy


def follow(teacher, network, momentum, statistics="own"):
    """Moves a `follower` towards its network: each trainable weight by the share 1 - momentum of the way.

    Args:
        teacher: network that `follower` made of `network`.
        network: network that learns.
        momentum: float, or scalar tensor, what the follower keeps.
        statistics: `"own"`: BatchNormalization's averages, and what else does not train, are the follower's own, moved
            by its own passes in training mode. `"copied"`: they are copied from the network, for a follower that runs
            in inference mode. An average of averages is neither, and harms.

    Raises:
        ValueError: if `statistics` is neither.
    """
    check_choice(statistics, "statistics", ("own", "copied"))
    learned = {id(v) for v in network.trainable_weights}
    for old, new in zip(teacher.weights, network.weights):
        if id(new) in learned:
            old.assign(momentum * old + (1.0 - momentum) * new)
        elif statistics == "copied":
            old.assign(new)


def check_network(network, name):
    """Raises an error for a network that Keras 3 would run but not train: of tensorflow_hub or tf_keras.

    Args:
        network: argument of a method; dicts and lists are searched.
        name: name of the argument.

    Raises:
        TypeError: if it is such a network, or holds one.
    """
    for part in keras.tree.flatten(network):
        classes = type(part).__mro__
        if any(cls.__module__.split(".")[0] in ("tensorflow_hub", "tf_keras") for cls in classes):
            raise TypeError(
                f"Expected `{name}` to be a Keras 3 network; received {classes[0].__module__}.{classes[0].__name__}, "
                "whose weights Keras 3 does not train. Load the TF Hub handle, or the network's SavedModel, with "
                "`kt.backbones.from_hub(handle)`."
            )


def keep_finite(variable, value):
    """Assigns a value to a variable if all of it is finite; otherwise that stays as it is.

    Args:
        variable: `keras.Variable`.
        value: tensor of its shape.
    """
    variable.assign(ops.where(ops.all(ops.isfinite(value)), value, ops.convert_to_tensor(variable)))


def check_networks(**networks):
    """Raises an error unless every argument is a network that Keras trains: a layer or a model.

    Args:
        **networks: arguments of a constructor by their names.

    Raises:
        ValueError: if one is anything else, such as a function, a class or None.
        TypeError: if one is of tensorflow_hub or tf_keras, see `check_network`.
    """
    for name, network in networks.items():
        check_network(network, name)
        if not isinstance(network, keras.Layer):
            helps = ""
            if isinstance(network, type) and issubclass(network, keras.Layer):
                helps = " Call the class: what is passed is one of its objects."
            elif callable(network):
                helps = " A function becomes a network by `keras.layers.Lambda`, or as `call` of a `keras.Layer`."
            elif isinstance(network, list | tuple):
                helps = " A list of layers becomes a network by `keras.Sequential`."
            raise ValueError(
                f"Expected `{name}` to be a network, a `keras.Layer` or `keras.Model`; received {received(network)}."
                f"{helps}"
            )


def check_logits(network, name):
    """Raises an error for a network that returns probabilities where logits are meant, as `final_activation` tells.

    Args:
        network: argument of a method; dicts and lists are searched.
        name: name of the argument.

    Raises:
        ValueError: if one ends in a softmax, a sigmoid or the like.
    """
    for part in keras.tree.flatten(network):
        layer = final_activation(part)
        if layer is not None:
            raise ValueError(
                f"Expected `{name}` to return logits, whose softmax or sigmoid is taken later; received "
                f"{part.name!r}, whose layer {layer.name!r} ({_kind(layer)}) makes probabilities of them. Leave that "
                "layer out, or set its `activation` to None: its weights stay as they are."
            )


def check_loss(loss, network, name="head"):
    """Raises an error where a loss takes probabilities for logits: made with `from_logits=True`, behind a softmax.

    Args:
        loss: loss as `compile` got it: a `keras.losses.Loss`, a name, a function, None; or a dict of such.
        network: network whose output it reads; a dict where the losses are one. None: it is not known.
        name: name of the network's argument.

    Raises:
        ValueError: if a loss with `from_logits=True` reads a network that ends in a softmax, a sigmoid or the like.
    """
    if isinstance(network, dict):
        losses = loss if isinstance(loss, dict) else dict.fromkeys(network, loss)
        for task, part in network.items():
            check_loss(losses.get(task), part, f"{name}[{task!r}]")
        return
    layer = final_activation(network) if getattr(loss, "from_logits", False) and network is not None else None
    if layer is not None:
        raise ValueError(
            f"Expected `{name}` to return logits, as the compiled loss {loss.name!r} says by `from_logits=True`; "
            f"received {network.name!r}, whose layer {layer.name!r} ({_kind(layer)}) makes probabilities of them. "
            "Compile with `from_logits=False`, or leave that layer out, or set its `activation` to None."
        )


def final_activation(network):
    """Returns the layer by which a network's output becomes probabilities: a softmax, a sigmoid or the like at its end.

    It is found inside nested networks, wrappers and Keras's own layers, as `activation`, layer or operation, behind
    layers that keep values between 0 and 1, such as Dropout or the mean of several, and at any of several outputs. An
    `activation` of the user's own counts if all that it returns lies between 0 and 1. The logarithm of a softmax does
    not: it is one of the logits of its probabilities. What a layer's own `call` or a SavedModel computes is not seen.

    Args:
        network: network, or any other object.

    Returns:
        The layer, or operation of a functional model, or None if there is none.
    """
    found = _end(network)
    return None if found is _STAYS else found


def _end(layer):
    """The layer at a network's end that makes probabilities, None, or `_STAYS`."""
    if isinstance(layer, keras.Sequential):
        return next((found for found in map(_end, reversed(layer.layers)) if found is not _STAYS), _STAYS)
    if getattr(layer, "outputs", None):  # a functional model
        return _joined(map(_end_before, keras.tree.flatten(layer.outputs)))
    if isinstance(layer, layers.Wrapper):
        return _end(layer.layer)
    if isinstance(getattr(layer, "served", None), tuple):  # a method
        head = layer.served[1]
        return None if head is None else _end(head)
    if type(layer).__name__ in _SQUASHING or isinstance(layer, layers.Lambda) and _squashes(layer.function):
        return layer
    activation = getattr(layer, "activation", None)
    if callable(activation) and _squashes(activation):
        return layer
    passes = isinstance(layer, _PASSING) or type(layer).__name__ in _PASSING_OPERATIONS
    still = isinstance(layer, layers.Activation) and activation is keras.activations.linear
    return _STAYS if passes or still else None


def _end_before(tensor):
    """The same for a symbolic tensor of a functional model, by a walk back to what made it."""
    operation, place, inputs = made_by(tensor)
    nested = getattr(operation, "outputs", None)
    found = _end_before(keras.tree.flatten(nested)[place]) if nested else _end(operation)
    return _joined(map(_end_before, inputs), every=True) if found is _STAYS and inputs else found


def _joined(ends, every=False):
    """What holds of several outputs, of which one is enough, or of the inputs of one layer, all of which have to."""
    ends = list(ends)
    squashed = [end for end in ends if end is not None and end is not _STAYS]
    if every and len(squashed) < len(ends):
        return _STAYS if all(end is _STAYS for end in ends) else None
    return squashed[0] if squashed else None if None in ends else _STAYS


def _squashes(activation):
    """Whether all that an activation returns lies between 0 and 1."""
    if isinstance(activation, keras.Layer):
        return final_activation(activation) is not None
    name = getattr(activation, "__name__", "")
    if name in _SQUASHING_FUNCTIONS or getattr(keras.activations, name, None) is activation:
        return name in _SQUASHING_FUNCTIONS
    try:
        values = ops.convert_to_numpy(activation(ops.convert_to_tensor([[-30.0, -3.0, 0.0, 3.0, 30.0]])))
    except Exception:  # it is for other inputs, or the graph of a step is being made: nothing is known
        return False
    return bool(np.all((values >= 0) & (values <= 1)))


def _kind(layer):
    """What a layer is, in words."""
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", type(activation).__name__)
    return type(layer).__name__ if activation is None else f"{type(layer).__name__} with the activation {name}"


def check_features(features, encoder):
    """Raises an error unless the features that an encoder returned are `(rows, dim)`; returns them."""
    if keras.tree.is_nested(features) or len(features.shape) != 2:
        shape = keras.tree.map_structure(lambda output: tuple(output.shape), features)
        raise ValueError(
            f"Expected the encoder {encoder.name!r} to return features of shape (batch, dim); "
            f"received shape {shape}. Add a pooling or Flatten layer at its end."
        )
    return features


def number_of_outputs(network):
    """Returns the size of the last axis of what a network returns; None where that is not known or no one tensor."""
    shape = getattr(network, "output_shape", None) if getattr(network, "built", False) else None
    return shape[-1] if isinstance(shape, tuple) and len(shape) > 1 else None


def all_rows(x):
    """Gathers the rows of all replicas, for what one replica cannot compute from its own: covariances, kernels.

    Args:
        x: tensor `(rows, ...)`, as many rows in every replica.

    Returns:
        Tensor `(replicas * rows, ...)` under a `tf.distribute` strategy, otherwise `x`. Gradients flow back to the
        rows of each replica.
    """
    if keras.backend.backend() != "tensorflow":
        return x
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:  # None while Keras builds a model
        return x
    return tf.ensure_shape(context.all_gather(x, axis=0), (None, *x.shape[1:]))
