"""VICReg: invariance of two views, variance of every feature, no covariance between features."""

from keras import ops

from keras_transfer.checks import check_number
from keras_transfer.losses.checks import check_views


def vicreg(view_1, view_2, epsilon=1e-4):
    """Returns the three terms of VICReg, scaled as in the authors' code.

    invariance = mean over rows and features of (z_1 - z_2)^2
    variance   = mean over features of max(0, 1 - sqrt(var(z) + epsilon)),   mean of the two views
    covariance = sum over d != e of Cov(z)_de^2 / dim,   sum of the two views

    Args:
        view_1: tensor `(n, dim)`, at least 2 rows.
        view_2: tensor `(n, dim)`, the same examples in the same order.
        epsilon: positive float, keeps the gradient of the root finite.

    Returns:
        Three scalars, float32. The paper weighs them by 25, 25 and 1.

    Raises:
        ValueError: if the views differ in shape, are not `(rows, dim)` or have fewer than 2 rows, or `epsilon` is
            not positive.

    Reference:
        Bardes, Ponce and LeCun, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning,
        ICLR 2022, arXiv:2105.04906.
    """
    check_views(view_1, view_2, "estimate variances")
    check_number(epsilon, "epsilon", above=0)
    view_1, view_2 = ops.cast(view_1, "float32"), ops.cast(view_2, "float32")
    invariance = ops.mean(ops.square(view_1 - view_2))
    (spread_1, mixed_1), (spread_2, mixed_2) = (_moments(view, epsilon) for view in (view_1, view_2))
    return invariance, (spread_1 + spread_2) / 2.0, mixed_1 + mixed_2


def _moments(z, epsilon):
    """Returns the variance and the covariance term of one view."""
    rows, dim = ops.cast(ops.shape(z)[0], "float32"), z.shape[-1]
    z = z - ops.mean(z, axis=0, keepdims=True)
    covariance = ops.matmul(ops.transpose(z), z) / (rows - 1.0)
    variances = ops.diagonal(covariance)
    hinge = ops.mean(ops.relu(1.0 - ops.sqrt(variances + epsilon)))
    return hinge, (ops.sum(ops.square(covariance)) - ops.sum(ops.square(variances))) / dim
