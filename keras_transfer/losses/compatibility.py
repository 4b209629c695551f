"""Ranking losses of compatibilities: the score of the right class above those of the others, by a margin."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_number
from keras_transfer.losses.checks import check_predictions


def devise(y, scores, margin=1.0):
    """Returns the mean over rows of the sum of all violations of the margin.

    mean over i of  sum over c != y_i of max(0, margin + s_ic - s_iy)

    Args:
        y: integer tensor `(rows,)`.
        scores: tensor `(rows, classes)`. Classes with a score of -1e9 cannot be, and count nothing.
        margin: float above 0.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: if scores are not `(rows, classes)`, or the margin is not above 0.

    Reference:
        Frome et al., DeViSE: A Deep Visual-Semantic Embedding Model, NIPS 2013, equation 1.
    """
    return ops.mean(_devise_rows(y, scores, margin))


def sje(y, scores, margin=1.0):
    """Returns the mean over rows of the largest violation of the margin.

    mean over i of  max over c != y_i of max(0, margin + s_ic - s_iy)

    Args:
        y: integer tensor `(rows,)`.
        scores: tensor `(rows, classes)`, see `devise`.
        margin: float above 0.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: see `devise`.

    Reference:
        Akata et al., Evaluation of Output Embeddings for Fine-Grained Image Classification, CVPR 2015,
        arXiv:1409.8403, equation 4.
    """
    return ops.mean(_sje_rows(y, scores, margin))


def ale(y, scores, margin=1.0):
    """Returns the mean over rows of the weighted approximate ranking loss.

    mean over i of  (1 + 1/2 + ... + 1/r_i) / r_i  sum over c != y_i of max(0, margin + s_ic - s_iy)

    where r_i is the number of classes that violate the margin: the rank of the right class.

    Args:
        y: integer tensor `(rows,)`.
        scores: tensor `(rows, classes)`, see `devise`.
        margin: float above 0.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: see `devise`.

    Reference:
        Akata et al., Label-Embedding for Image Classification, TPAMI 2016, arXiv:1503.08677, equations 11 and 12.
    """
    return ops.mean(_ale_rows(y, scores, margin))


class Ranking(keras.losses.Loss):
    """Abstract: what the ranking losses share as Keras losses."""

    reads_class_numbers = True
    rows = None

    def __init__(self, margin=1.0, name=None, **kwargs):
        super().__init__(name=name or type(self).__name__.lower(), **kwargs)
        self.margin = check_number(margin, "margin", above=0)

    def call(self, y_true, y_pred):
        """Returns one value for each row."""
        return self.rows(y_true, y_pred, self.margin)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "margin": self.margin}


def _devise_rows(y, scores, margin):
    return ops.sum(_violations(y, scores, margin), axis=-1)


def _sje_rows(y, scores, margin):
    return ops.max(_violations(y, scores, margin), axis=-1)


def _ale_rows(y, scores, margin):
    violations = _violations(y, scores, margin)
    rank = ops.sum(ops.cast(violations > 0, "int32"), axis=-1)
    places = np.arange(1, scores.shape[-1] + 1)
    by_rank = np.append(0.0, np.cumsum(1 / places) / places).astype("float32")
    return ops.take(ops.convert_to_tensor(by_rank), rank) * ops.sum(violations, axis=-1)


@keras.saving.register_keras_serializable(package="keras_transfer")
class DeViSE(Ranking):
    """`devise` as a Keras loss of integer labels and scores, to compile `kt.models.BilinearCompatibility` with.

    Args:
        margin: float above 0.
    """

    rows = staticmethod(_devise_rows)


@keras.saving.register_keras_serializable(package="keras_transfer")
class SJE(Ranking):
    """`sje` as a Keras loss of integer labels and scores.

    Args:
        margin: float above 0.
    """

    rows = staticmethod(_sje_rows)


@keras.saving.register_keras_serializable(package="keras_transfer")
class ALE(Ranking):
    """`ale` as a Keras loss of integer labels and scores.

    Args:
        margin: float above 0.
    """

    rows = staticmethod(_ale_rows)


def _violations(y, scores, margin):
    """By how much each class violates the margin `(rows, classes)`, float32; the right one does not."""
    check_predictions(scores)
    scores = ops.cast(scores, "float32")
    y = ops.cast(ops.reshape(y, (-1,)), "int32")
    right = ops.take_along_axis(scores, y[:, None], axis=-1)
    found = ops.relu(check_number(margin, "margin", above=0) + scores - right)
    return ops.where(ops.equal(ops.arange(scores.shape[-1], dtype="int32"), y[:, None]), 0.0, found)
