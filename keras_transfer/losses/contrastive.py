"""Contrastive losses: each row's positives among all other rows of the batch, NT-Xent and its supervised form."""

from keras import ops

from keras_transfer.losses.checks import check_temperature, check_views


def nt_xent(view_1, view_2, temperature=0.2):
    """Returns the normalised, temperature-scaled cross entropy between two views.

    With z the 2n rows of both views, scaled to length 1, and z_p the other view of the same example:

    mean over i of  log sum over j != i of exp(z_i . z_j / T)  -  z_i . z_p / T

    Every other row is a negative, those of the same view too: 2n - 2 of them. Both directions count.

    Args:
        view_1: tensor `(n, dim)`, at least 2 rows.
        view_2: tensor `(n, dim)`, the same examples in the same order.
        temperature: positive float T; small ones look at the hardest negatives. 0.1 to 0.5 are in use.

    Returns:
        Scalar, float32, at least 0.

    Raises:
        ValueError: if the views differ in shape, are not `(rows, dim)` or have fewer than 2 rows, or the temperature is
            not positive.

    Reference:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, arXiv:2002.05709.
    """
    check_temperature(temperature)
    features = both_views(view_1, view_2, "contrast")
    return ops.mean(contrast_rows(features, *partners(features), all_places(features), temperature))


def sup_con(features, labels, temperature=0.1):
    """Returns the supervised contrastive loss: all rows of the same class are positives.

    With z the rows scaled to length 1, and P(i) the other rows of the label of row i:

    mean over i of  log sum over j != i of exp(z_i . z_j / T)  -  mean over p in P(i) of z_i . z_p / T

    A row without positives counts 0.

    Args:
        features: tensor `(rows, dim)`, usually both views, one after the other.
        labels: integer tensor `(rows,)`.
        temperature: positive float T.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: if the temperature is not positive.

    Reference:
        Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362, equation 2 (the mean outside of
        the logarithm).
    """
    check_temperature(temperature)
    features = unit_rows(features)
    return ops.mean(contrast_rows(features, *positive_means(features, labels), all_places(features), temperature))


def contrast_rows(features, positives, counted, rows, temperature):
    """Returns the contrastive loss of some rows among all: large batches go through it in parts.

    Args:
        features: tensor `(n, dim)`, float32, rows of length 1.
        positives: tensor `(n, dim)`, the mean of each row's positives.
        counted: tensor `(n,)`, 1.0, or 0.0 for rows without positives.
        rows: integer tensor `(k,)`, places of the anchors.
        temperature: positive float.

    Returns:
        Tensor `(k,)`.
    """
    anchors = ops.take(features, rows, axis=0) / temperature
    others = ops.not_equal(ops.cast(rows, "int32")[:, None], all_places(features)[None])
    normalizer = ops.logsumexp(ops.where(others, ops.matmul(anchors, ops.transpose(features)), -1e9), axis=1)
    attraction = ops.sum(anchors * ops.take(positives, rows, axis=0), axis=1)
    return ops.take(counted, rows) * (normalizer - attraction)


def partners(features):
    """Returns each row's other view `(2 n, dim)`, and ones `(2 n,)`."""
    return ops.roll(features, ops.shape(features)[0] // 2, axis=0), ops.ones_like(features[:, 0])


def positive_means(features, labels):
    """Returns the mean of the other rows of each row's label `(n, dim)`, and 1.0 where there are any, else 0.0."""
    order = ops.argsort(labels)
    ordered = ops.take(labels, order)
    steps = ops.cast(ops.not_equal(ordered[1:], ordered[:-1]), "int32")
    classes = ops.take(ops.concatenate([ops.zeros((1,), "int32"), ops.cumsum(steps)]), ops.argsort(order))
    number = ops.shape(features)[0]
    counts = ops.take(ops.segment_sum(ops.ones_like(features[:, :1]), classes, number), classes, axis=0) - 1.0
    sums = ops.take(ops.segment_sum(features, classes, number), classes, axis=0) - features
    return sums / ops.maximum(counts, 1.0), ops.minimum(counts[:, 0], 1.0)


def both_views(view_1, view_2, purpose):
    """Returns the rows of both views, one after the other, scaled to length 1, after checks."""
    check_views(view_1, view_2, purpose)
    return unit_rows(ops.concatenate([view_1, view_2]))


def all_places(features):
    """Returns the places of all rows `(n,)`, int32."""
    return ops.arange(ops.shape(features)[0], dtype="int32")


def unit_rows(features):
    """Returns rows of length 1, float32."""
    return ops.normalize(ops.cast(features, "float32"), axis=-1)
