"""Barlow Twins: the cross-correlation of two views, as a distance from the identity."""

from keras import ops

from keras_transfer.losses.checks import check_views


def barlow_twins(view_1, view_2):
    """Returns how far the cross-correlation C of two views is from the identity, in its two parts.

    invariance = sum over d of (1 - C_dd)^2,   redundancy = sum over d != e of C_de^2

    Features are standardised over the batch before.

    Args:
        view_1: tensor `(n, dim)`, at least 2 rows.
        view_2: tensor `(n, dim)`, the same examples in the same order.

    Returns:
        Two scalars, float32. The paper's loss is `invariance + 0.005 * redundancy`.

    Raises:
        ValueError: if the views differ in shape, are not `(rows, dim)` or have fewer than 2 rows.

    Reference:
        Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML 2021, arXiv:2103.03230.
    """
    check_views(view_1, view_2, "correlate features")
    first, second = (_standardized(ops.cast(view, "float32")) for view in (view_1, view_2))
    correlation = ops.matmul(ops.transpose(first), second) / ops.cast(ops.shape(first)[0], "float32")
    diagonal = ops.diagonal(correlation)
    invariance = ops.sum(ops.square(1.0 - diagonal))
    return invariance, ops.sum(ops.square(correlation)) - ops.sum(ops.square(diagonal))


def _standardized(x, epsilon=1e-5):
    mean, variance = ops.moments(x, axes=[0], keepdims=True)
    return (x - mean) * ops.rsqrt(variance + epsilon)
