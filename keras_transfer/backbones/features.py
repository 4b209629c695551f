"""From the output of a backbone to features (batch, dim), and the error for what is no backbone."""

import keras
from keras import ops


def pooled(x, pooling, mask=None):
    """Returns features (batch, dim) of a backbone's output.

    Args:
        x: tensor `(batch, dim)`, which is returned as it is, `(batch, height, width, dim)` or `(batch, length, dim)`.
        pooling: `"avg"`, `"max"`, or, for sequences, `"first"`: the first position, which holds the class token.
        mask: tensor `(batch, length)` that is nonzero where a sequence counts; None for everywhere.

    Raises:
        ValueError: if the output has no such pooling.
    """
    rank = len(x.shape)
    if rank == 2:
        return x
    if (rank, pooling) == (4, "avg"):
        return keras.layers.GlobalAveragePooling2D(name="features")(x)
    if (rank, pooling) == (4, "max"):
        return keras.layers.GlobalMaxPooling2D(name="features")(x)
    if (rank, pooling) == (3, "avg"):
        return masked_mean(x, mask) if mask is not None else ops.mean(x, axis=1)
    if (rank, pooling) == (3, "max") and mask is None:
        return ops.max(x, axis=1)
    if (rank, pooling) == (3, "first"):
        return x[:, 0]
    raise ValueError(f"Expected `pooling` that fits an output of shape {x.shape}; received {pooling!r}.")


def masked_mean(x, mask):
    """Returns the mean over the positions of a sequence that count; zero where none does.

    Args:
        x: tensor `(batch, length, dim)`.
        mask: tensor `(batch, length)`, nonzero where a position counts.

    Returns:
        Tensor `(batch, dim)`.
    """
    weights = ops.expand_dims(ops.cast(mask, x.dtype), -1)
    return ops.sum(x * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)


def not_a_backbone(expected, received):
    """Returns the error for a source that a loader cannot use."""
    kind = type(received)
    return TypeError(
        f"Expected {expected}; received {received!r} ({kind.__module__}.{kind.__name__}). "
        "A TF Hub handle, or a SavedModel of a hub.KerasLayer or tf_keras model, loads with "
        "`kt.backbones.from_hub(handle)`."
    )
