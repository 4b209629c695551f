"""What predictions on data without labels should be like: sure, and diverse."""

import keras
from keras import ops

from keras_transfer.losses.checks import check_predictions


@keras.saving.register_keras_serializable(package="keras_transfer")
def prediction_entropy(logits):
    """Returns the mean entropy of predictions: low where each of them is sure.

    entropy = -mean over rows of sum_c p_c log p_c

    On its own it can be lowered by one answer to everything; `negative_information` cannot.

    Args:
        logits: tensor `(rows, classes)`.

    Returns:
        Scalar in nats, float32, from 0 to log(classes).

    Raises:
        ValueError: if logits are not `(rows, classes)` of at least two classes.

    Reference:
        Grandvalet and Bengio, Semi-supervised Learning by Entropy Minimization, NIPS 2004.
    """
    log_p = _log_softmax(logits)
    return -ops.mean(ops.sum(ops.exp(log_p) * log_p, axis=-1))


@keras.saving.register_keras_serializable(package="keras_transfer")
def negative_information(logits):
    """Returns minus the mutual information of inputs and predictions: low where answers are sure and diverse.

    negative_information = mean entropy of p - entropy of mean p

    It asks for classes that are equally frequent in a batch: where they are known not to be, it misleads.

    Args:
        logits: tensor `(rows, classes)`, at least 2 rows.

    Returns:
        Scalar in nats, float32, from -log(classes) to 0.

    Raises:
        ValueError: if logits are not `(rows, classes)` of at least two classes, or there are fewer than 2 rows.

    Reference:
        Liang, Hu and Feng, Do We Really Need to Access the Source Data? Source Hypothesis Transfer for Unsupervised
        Domain Adaptation, ICML 2020, arXiv:2002.08546, equation 3; Krause, Perona and Gomes, Discriminative Clustering
        by Regularized Information Maximization, NIPS 2010.
    """
    mean = ops.mean(ops.exp(_log_softmax(logits, "tell how diverse they are")), axis=0)
    return prediction_entropy(logits) + ops.sum(mean * ops.log(ops.maximum(mean, 1e-30)))


def _log_softmax(logits, purpose=None):
    check_predictions(logits, purpose)
    return ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
