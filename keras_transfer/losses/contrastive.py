"""Contrastive losses: each row's positives among all other rows of the batch, NT-Xent and its supervised form."""

from keras import ops

from keras_transfer.losses.checks import check_views


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
        ValueError: if the views differ in shape, are not `(rows, dim)` or have fewer than 2 rows.

    Reference:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, arXiv:2002.05709.
    """
    features = both_views(view_1, view_2, "contrast")
    return sup_con(features, example_numbers(features), temperature)


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

    Reference:
        Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362, equation 2 (the mean outside of
        the logarithm).
    """
    features = unit_rows(features)
    return ops.mean(sup_con_rows(features, labels, ops.arange(ops.shape(features)[0]), temperature))


def sup_con_rows(features, labels, rows, temperature):
    """Returns the supervised contrastive loss of some rows among all: large batches go through it in parts.

    Args:
        features: tensor `(n, dim)`, float32, rows of length 1.
        labels: integer tensor `(n,)`.
        rows: integer tensor `(k,)`, places of the anchors.
        temperature: positive float.

    Returns:
        Tensor `(k,)`.
    """
    logits = ops.matmul(ops.take(features, rows, axis=0), ops.transpose(features)) / temperature
    others = ops.not_equal(ops.cast(rows, "int32")[:, None], ops.arange(ops.shape(features)[0], dtype="int32")[None])
    positive = ops.cast(ops.logical_and(ops.equal(ops.take(labels, rows)[:, None], labels[None]), others), "float32")
    count = ops.sum(positive, axis=1)
    normalizer = ops.logsumexp(ops.where(others, logits, -1e9), axis=1)
    losses = normalizer - ops.sum(positive * logits, axis=1) / ops.maximum(count, 1.0)
    return ops.where(count > 0, losses, 0.0)


def both_views(view_1, view_2, purpose):
    """Returns the rows of both views, one after the other, scaled to length 1, after checks."""
    check_views(view_1, view_2, purpose)
    return unit_rows(ops.concatenate([view_1, view_2]))


def example_numbers(features):
    """Returns labels `(2 n,)` that make the two views of an example a class of their own."""
    examples = ops.arange(ops.shape(features)[0] // 2, dtype="int32")
    return ops.concatenate([examples, examples])


def unit_rows(features):
    """Returns rows of length 1, float32."""
    return ops.normalize(ops.cast(features, "float32"), axis=-1)
