"""CORAL: the distance between the covariances of two sets of features."""

import keras
from keras import ops

from keras_transfer.checks import check_flag
from keras_transfer.losses.checks import check_pair


def coral(source, target, normalize=True):
    """Returns the squared distance between the covariances of two batches of features.

    C = (X - mean X)^T (X - mean X) / (rows - 1)
    coral = ||C_source - C_target||_F^2 / (4 dim^2)

    Args:
        source: features `(rows, dim)`, at least 2 rows.
        target: features `(rows, dim)`, at least 2 rows; the number of rows may differ.
        normalize: whether to divide by `4 dim^2`, as the paper does. The paper's form shrinks with the square of the
            width, so its weight grows with it; False returns the plain squared Frobenius norm.

    Returns:
        A scalar, float32 at least.

    Raises:
        ValueError: if the shapes do not fit, or a batch has fewer than 2 rows.

    Reference:
        Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV Workshops 2016,
        arXiv:1607.01719.
    """
    check_pair(source, target, "estimate a covariance")
    distance = ops.sum(ops.square(_covariance(source) - _covariance(target)))
    return distance / (4.0 * source.shape[-1] ** 2) if normalize else distance


@keras.saving.register_keras_serializable(package="keras_transfer")
class CORAL(keras.losses.Loss):
    """Wraps `coral` as a Keras loss: `CORAL()(source_features, target_features)`.

    Args:
        normalize: whether to divide by `4 dim^2`, as the paper does.
    """

    def __init__(self, normalize=True, name="coral", **kwargs):
        super().__init__(name=name, **kwargs)
        self.normalize = check_flag(normalize, "normalize")

    def call(self, y_true, y_pred):
        """Returns the scalar distance between two batches of features."""
        return coral(y_true, y_pred, self.normalize)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "normalize": self.normalize}


def _covariance(x):
    x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    centred = x - ops.mean(x, axis=0, keepdims=True)
    rows = ops.cast(ops.shape(x)[0], x.dtype)
    return ops.matmul(ops.transpose(centred), centred) / (rows - 1.0)
