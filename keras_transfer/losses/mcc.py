"""Minimum class confusion: predictions on data without labels that do not waver between classes."""

import keras
from keras import ops

from keras_transfer.checks import check_number
from keras_transfer.losses.checks import check_predictions


def mcc(logits, temperature=2.5):
    """Returns how much predictions waver between pairs of classes, rows that are surer counting more.

    p    = softmax(logits / temperature)
    w_i  = rows (1 + exp(-H(p_i))) / sum over rows of (1 + exp(-H)),   H: entropy
    C    = sum over rows of w_i p_i p_i^T,   each row of C divided by its sum
    mcc  = (sum of C - trace of C) / classes

    Args:
        logits: tensor `(rows, classes)`, some rows for each class.
        temperature: float above 0, which softens the predictions.

    Returns:
        Scalar, float32, from 0 to 1 - 1 / classes.

    Raises:
        ValueError: if logits are not `(rows, classes)` of at least two classes, there are fewer than 2 rows, or the
            temperature is not above 0.

    Reference:
        Jin, Wang, Long and Wang, Minimum Class Confusion for Versatile Domain Adaptation, ECCV 2020, arXiv:1912.03699.
    """
    check_predictions(logits, "tell which classes are confused")
    log_p = ops.log_softmax(ops.cast(logits, "float32") / check_number(temperature, "temperature", above=0), axis=-1)
    p = ops.exp(log_p)
    weight = 1.0 + ops.exp(ops.sum(p * log_p, axis=-1, keepdims=True))
    weight = ops.stop_gradient(weight / ops.mean(weight))
    confusion = ops.matmul(ops.transpose(weight * p), p)
    confusion = confusion / ops.maximum(ops.sum(confusion, axis=-1, keepdims=True), 1e-12)
    return 1.0 - ops.mean(ops.diagonal(confusion))


@keras.saving.register_keras_serializable(package="keras_transfer")
class MCC:
    """`mcc` with a temperature of its own, as a term of an adaptation method: `MCC()(logits)`.

    Args:
        temperature: float above 0.

    Raises:
        ValueError: if the temperature is not above 0.
    """

    def __init__(self, temperature=2.5):
        self.temperature = check_number(temperature, "temperature", above=0)

    def __call__(self, logits):
        """Returns the scalar of logits `(rows, classes)`."""
        return mcc(logits, self.temperature)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"temperature": self.temperature}

    @classmethod
    def from_config(cls, config):
        """Makes the term that a config describes."""
        return cls(**config)
