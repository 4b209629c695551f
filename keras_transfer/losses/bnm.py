"""Batch nuclear-norm maximisation: sure and diverse predictions, where classes need not be equally frequent."""

import keras
from keras import ops

from keras_transfer.losses.checks import check_predictions


@keras.saving.register_keras_serializable(package="keras_transfer")
def negative_nuclear_norm(logits):
    """Returns minus the nuclear norm of the predictions of a batch, by its rows.

    negative_nuclear_norm = -sum of the singular values of P / rows,   P: softmax, (rows, classes)

    Args:
        logits: tensor `(rows, classes)`, at least 2 rows.

    Returns:
        Scalar, float32, from -sqrt(min(rows, classes) / rows) to 0.

    Raises:
        ValueError: if logits are not `(rows, classes)` of at least two classes, or there are fewer than 2 rows.

    Reference:
        Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label Insufficient
        Situations, CVPR 2020, arXiv:2003.12237.
    """
    check_predictions(logits, "tell how diverse they are")
    p = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    values = ops.svd(p, full_matrices=False, compute_uv=False)
    return -ops.sum(values) / ops.cast(ops.shape(p)[0], "float32")
