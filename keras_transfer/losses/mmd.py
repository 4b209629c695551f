"""Maximum mean discrepancy: the distance between two distributions of features under a kernel."""

import keras
from keras import ops

from keras_transfer.checks import check_flag, check_number, received
from keras_transfer.losses.checks import check_pair

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(source, target, factors=FACTORS, unbiased=False):
    """Returns the squared maximum mean discrepancy of two batches of features under Gaussian kernels.

    k(a, b) = mean over factors of exp(-||a - b||^2 / (factor * median))
    mmd = mean k(source, source) + mean k(target, target) - 2 mean k(source, target)

    `median` is the median of all squared distances between different rows of the two batches together, through which no
    gradient flows: the bandwidths follow the scale of the features. Where most rows are the same, as features that have
    collapsed are, it would be 0, and their mean takes its place.

    Args:
        source: features `(rows, dim)`, at least 2 rows.
        target: features `(rows, dim)`, at least 2 rows; the number of rows may differ.
        factors: sequence of positive floats, the bandwidths as multiples of the median.
        unbiased: whether to leave each row's kernel with itself out of the means. The biased estimator is never
            negative; the unbiased one has the right mean and can be below 0.

    Returns:
        A scalar of at most 2, float32 at least.

    Raises:
        ValueError: if the shapes do not fit, a batch has fewer than 2 rows, or a factor is not positive.

    Reference:
        Gretton et al., A Kernel Two-Sample Test, JMLR 2012; several bandwidths as in Long et al., Learning Transferable
        Features with Deep Adaptation Networks, ICML 2015, arXiv:1502.02791.
    """
    return joint_mmd([source], [target], factors, unbiased)


def joint_mmd(source, target, factors=FACTORS, unbiased=False):
    """Returns the squared maximum mean discrepancy of several outputs of a network together.

    k(a, b) = product over outputs of the kernel of `mmd`, each with the median of its own distances

    Args:
        source: list of tensors `(rows, dim)`, such as features and predictions of the same rows; at least 2 rows.
        target: list of as many tensors of the same widths; the number of rows may differ.
        factors: sequence of positive floats, the bandwidths as multiples of the median.
        unbiased: whether to leave each row's kernel with itself out of the means, as in `mmd`.

    Returns:
        A scalar of at most 2, float32 at least.

    Raises:
        ValueError: if the lists are empty or of different lengths, the shapes do not fit, a batch has fewer than 2
            rows, or a factor is not positive.

    Reference:
        Long, Zhu, Wang and Jordan, Deep Transfer Learning with Joint Adaptation Networks, ICML 2017, arXiv:1605.06636.
    """
    if not source or len(source) != len(target):
        raise ValueError(
            f"Expected `source` and `target` to be lists of one length, at least 1; received {len(source)} and "
            f"{len(target)} tensors."
        )
    factors, kernel = _factors(factors), 1.0
    for one, other in zip(source, target):
        check_pair(one, other, "compare distributions")
        kernel *= _kernel(ops.concatenate([one, other]), factors)
    source_rows, target_rows = ops.shape(source[0])[0], ops.shape(target[0])[0]
    own = 1.0 if unbiased else 0.0  # a row's kernel with itself is 1

    def mean_within(block, count):
        count = ops.cast(count, block.dtype)
        return (ops.sum(block) - own * count) / (count * (count - own))

    return (
        mean_within(kernel[:source_rows, :source_rows], source_rows)
        + mean_within(kernel[source_rows:, source_rows:], target_rows)
        - 2.0 * ops.mean(kernel[:source_rows, source_rows:])
    )


@keras.saving.register_keras_serializable(package="keras_transfer")
class MMD(keras.losses.Loss):
    """Wraps `mmd` as a Keras loss: `MMD()(source_features, target_features)`.

    Args:
        factors: sequence of positive floats, the bandwidths as multiples of the median.
        unbiased: whether to leave each row's kernel with itself out of the means.
    """

    def __init__(self, factors=FACTORS, unbiased=False, name="mmd", **kwargs):
        super().__init__(name=name, **kwargs)
        self.factors, self.unbiased = _factors(factors), check_flag(unbiased, "unbiased")

    def call(self, y_true, y_pred):
        """Returns the scalar discrepancy of two batches of features."""
        return mmd(y_true, y_pred, self.factors, self.unbiased)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "factors": self.factors, "unbiased": self.unbiased}


def _factors(factors):
    if not isinstance(factors, tuple | list) or not factors:
        raise ValueError(f"Expected `factors` to be a tuple of numbers above 0; received {received(factors)}.")
    return tuple(check_number(factor, "factors", above=0) for factor in factors)


def _kernel(rows, factors):
    rows = ops.cast(rows, keras.backend.result_type(rows.dtype, "float32"))
    rows = rows - ops.stop_gradient(ops.mean(rows, axis=0))  # far from the origin little would be left of differences
    distances = _squared_distances(rows)
    median, mean = _median(distances), _mean(distances)
    width = ops.where(median > 1e-5 * mean, median, mean)  # below is rounding
    width = ops.stop_gradient(ops.maximum(width, keras.config.epsilon()))
    return sum(ops.exp(-distances / (factor * width)) for factor in factors) / len(factors)


def _squared_distances(x):
    norms = ops.sum(ops.square(x), axis=1)
    distances = norms[:, None] + norms[None, :] - 2.0 * ops.matmul(x, ops.transpose(x))
    return ops.maximum(distances, 0.0) * (1.0 - ops.eye(ops.shape(x)[0], dtype=x.dtype))


def _median(distances):
    """Returns the median off the diagonal, whose zeros come first when all are sorted."""
    rows = ops.shape(distances)[0]
    middle = rows + rows * (rows - 1) // 2
    return ops.mean(ops.sort(ops.reshape(distances, (-1,)))[middle - 1 : middle + 1])


def _mean(distances):
    """Returns the mean off the diagonal, which is zero."""
    rows = ops.cast(ops.shape(distances)[0], distances.dtype)
    return ops.sum(distances) / (rows * (rows - 1.0))
