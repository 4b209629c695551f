"""Ways to run a network, two batches in one pass and the rows of every replica together, and checks of networks."""

import keras
from keras import ops


def run_pair(network, first, second, batch_norm="joint", training=False):
    """Runs a network on two batches and returns the output of each.

    Args:
        network: network, or function of `(x, training)`, from an input to an output or a nested structure of outputs
            with one row for each example.
        first: input, an array or a nested structure of arrays.
        second: input of the same structure; its number of rows may differ.
        batch_norm: `"joint"`: one pass over all rows, so that BatchNormalization normalises them by shared statistics
            and moves its averages once. `"separate"`: one pass for each batch, normalised by its own statistics; the
            moving averages, which serve, move twice and mix both.
        training: whether this is a training step.

    Returns:
        The outputs of `first` and of `second`.

    Raises:
        ValueError: if `batch_norm` is neither.
    """
    if batch_norm == "separate":
        return network(first, training=training), network(second, training=training)
    if batch_norm != "joint":
        raise ValueError(f'Expected `batch_norm` to be "joint" or "separate"; received {batch_norm!r}.')
    rows = ops.shape(keras.tree.flatten(first)[0])[0]
    both = keras.tree.map_structure(lambda a, b: ops.concatenate([a, b]), first, second)
    outputs = network(both, training=training)
    return (
        keras.tree.map_structure(lambda output: output[:rows], outputs),
        keras.tree.map_structure(lambda output: output[rows:], outputs),
    )


def encode_episode(encoder, x, training=False):
    """Runs an encoder once over all rows of a batch of episodes.

    Args:
        encoder: network from an input to features `(rows, dim)`.
        x: the streams of `kt.streams.episodes`: `{"support": (x, labels), "query": x}`.
        training: whether this is a training step.

    Returns:
        Features of the support `(episodes, rows, dim)`, its labels `(episodes, rows)`, and features of the queries
        `(episodes, queries, dim)`.
    """
    (support, labels), query = x["support"], x["query"]

    def flat(rows):
        return ops.reshape(rows, (-1, *rows.shape[2:]))

    def by_episode(features, rows):
        episodes, size = ops.shape(keras.tree.flatten(rows)[0])[:2]
        return ops.reshape(check_features(features, encoder), (episodes, size, features.shape[-1]))

    encoded = run_pair(encoder, *(keras.tree.map_structure(flat, rows) for rows in (support, query)), training=training)
    return by_episode(encoded[0], support), labels, by_episode(encoded[1], query)


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
