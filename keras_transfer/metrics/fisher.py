"""The Fisher information of a classifier's weights: how much its predictions depend on each."""

import numpy as np

from keras_transfer.checks import check_choice, check_integer
from keras_transfer.metrics.per_example import summed_powers

KINDS = ("exact", "sampled", "empirical")


def fisher(network, x, y=None, kind="exact", classes=None, batch_size=64, seed=0):
    """Returns the diagonal of the Fisher information matrix of a classifier, a number for each trainable weight.

    exact:      F = mean over rows n of  sum_c p(c | x_n) (d log p(c | x_n) / d w)^2
    sampled:    F = mean over rows n of  (d log p(c_n | x_n) / d w)^2,   c_n drawn from p(. | x_n)
    empirical:  F = mean over rows n of  (d log p(y_n | x_n) / d w)^2,   y_n the label

    Each example's gradient is squared, never that of a batch, and without a loop where there is a form for it: Dense,
    convolutions and BatchNormalization; what else trains is looped over. The network runs in inference mode. The exact
    one takes a pass backwards for each class, the others one. They differ in size, so a strength that fits one does not
    fit another.

    Args:
        network: built network from an input to logits `(batch, classes)`, float32; TensorFlow.
        x: array or nested structure of arrays `(rows, ...)`, or a `tf.data.Dataset` of batches of `(x, y)`, or of x.
        y: integer labels `(rows,)`, for `"empirical"`; a dataset brings its own.
        kind: `"exact"`, `"sampled"` or `"empirical"`.
        classes: integers, the classes among which a row is told, such as those of its task; None: all. Labels are
            among them.
        batch_size: int, rows that are computed at a time; the result does not depend on it.
        seed: int, of what `"sampled"` draws.

    Returns:
        List of float32 arrays, of the shapes and in the order of `network.trainable_variables`.

    Raises:
        ValueError: if `kind` is none of the three, there are no rows, no labels where they are needed, labels that are
            none of the classes, no weights that train, or the network does not return logits `(batch, classes)`.
        RuntimeError: on another backend than TensorFlow.

    Example:

    ```python
    importance = kt.metrics.fisher(model, x, kind="exact")
    ```

    Reference:
        Martens, New Insights and Perspectives on the Natural Gradient Method, JMLR 2020, arXiv:1412.1193; which one is
        meant matters in practice: van de Ven, On the Computation of the Fisher Information in Continual Learning, ICLR
        blog track 2025, arXiv:2502.11756.
    """
    check_choice(kind, "kind", KINDS)
    check_integer(batch_size, "batch_size")
    check_integer(seed, "seed", 0)
    chosen = None if classes is None else np.asarray(classes, "int32")

    def directions(logits, labels, number):
        import tensorflow as tf

        if logits.shape.rank != 2:
            raise ValueError(
                f"Expected {network.name!r} to return logits (batch, classes); received shape {tuple(logits.shape)}."
            )
        logits = tf.cast(logits, "float32")
        logits = logits if chosen is None else tf.gather(logits, chosen, axis=1)
        log_p = tf.nn.log_softmax(logits)
        if kind == "exact":
            p = tf.stop_gradient(tf.exp(log_p))
            return tf.unstack(log_p, axis=1), tf.unstack(p, axis=1)
        if kind == "sampled":
            drawn = tf.random.stateless_categorical(log_p, 1, tf.stack([tf.constant(seed, "int64"), number]))[:, 0]
        else:
            labels = tf.reshape(tf.cast(labels, "int32"), (-1,))
            drawn = labels if chosen is None else tf.argmax(labels[:, None] == chosen, axis=1)
        told = tf.gather(log_p, drawn, axis=1, batch_dims=1)
        return [told], [tf.ones_like(told)]

    _check_labels(x, y, kind, chosen, network)
    totals, rows = summed_powers(network, x, directions, y, batch_size=batch_size)
    return [total / np.float32(rows) for total in totals]


def _check_labels(x, y, kind, classes, network):
    if kind != "empirical" or not hasattr(x, "shape") and y is None and not isinstance(x, dict | tuple | list):
        return  # a dataset brings its own
    if y is None:
        raise ValueError("Expected labels `y` for the empirical Fisher information; received None.")
    found = np.unique(np.asarray(y))
    shape = getattr(network, "output_shape", None) or (1 + found.max(),)
    allowed = np.arange(shape[-1]) if classes is None else classes
    if not np.isin(found, allowed).all():
        others = found[~np.isin(found, allowed)].tolist()
        raise ValueError(f"Expected labels among the classes {allowed.tolist()}; received {others}.")
