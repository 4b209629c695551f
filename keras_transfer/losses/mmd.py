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
    gradient flows: the bandwidths follow the scale of the features.

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
    check_pair(source, target, "compare distributions")
    factors = _factors(factors)
    source_rows, target_rows = ops.shape(source)[0], ops.shape(target)[0]
    rows = ops.concatenate([source, target])
    rows = ops.cast(rows, keras.backend.result_type(rows.dtype, "float32"))
    distances = _squared_distances(rows)
    width = ops.stop_gradient(ops.maximum(_median(distances), keras.config.epsilon()))
    kernel = sum(ops.exp(-distances / (factor * width)) for factor in factors) / len(factors)
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


def _squared_distances(x):
    norms = ops.sum(ops.square(x), axis=1)
    distances = norms[:, None] + norms[None, :] - 2.0 * ops.matmul(x, ops.transpose(x))
    return ops.maximum(distances, 0.0) * (1.0 - ops.eye(ops.shape(x)[0], dtype=x.dtype))


def _median(distances):
    """Returns the median off the diagonal, whose zeros come first when all are sorted."""
    rows = ops.shape(distances)[0]
    middle = rows + rows * (rows - 1) // 2
    return ops.mean(ops.sort(ops.reshape(distances, (-1,)))[middle - 1 : middle + 1])
