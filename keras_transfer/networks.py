"""Ways to run, hold still, copy and follow a network, and checks of what is passed as one."""

import keras
from keras import layers, ops

from keras_transfer.keras_internals import all_layers

_DROPOUT = (
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)


def run_pair(network, first, second, passes="joint", training=False):
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

    Returns:
        The outputs of `first` and of `second`.

    Raises:
        ValueError: if `passes` is neither.
    """
    if passes == "separate":
        return network(first, training=training), network(second, training=training)
    if passes != "joint":
        raise ValueError(f'Expected `passes` to be "joint" or "separate"; received {passes!r}.')
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
    if statistics not in ("own", "copied"):
        raise ValueError(f'Expected `statistics` to be "own" or "copied"; received {statistics!r}.')
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


def check_features(features, encoder):
    """Raises an error unless the features that an encoder returned are `(rows, dim)`; returns them."""
    if keras.tree.is_nested(features) or len(features.shape) != 2:
        shape = keras.tree.map_structure(lambda output: tuple(output.shape), features)
        raise ValueError(
            f"Expected the encoder {encoder.name!r} to return features of shape (batch, dim); "
            f"received shape {shape}. Add a pooling or Flatten layer at its end."
        )
    return features


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
