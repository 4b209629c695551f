"""Importance: how much rows of the source count for the target, and what a model's risk there is by them."""

import numpy as np

from keras_transfer.checks import check_finite, check_number
from keras_transfer.metrics.domain_classifier import told_apart


def importance_weights(source, target, inverse_penalty=0.01, folds=5, most=20.0):
    """Returns how much each row of the source counts, to stand for the target: an estimate of p_target / p_source.

    A logistic regression tells the domains apart; the odds of a row of the source to be of the target, told while it is
    held out, are its weight. Pass them as `sample_weight`: `kt.streams.domains((x, y, weights), x_target)`. They help
    where the target is a part of the source, or lies in it at other frequencies; not where it looks different.

    Args:
        source: array `(rows, dim)`, features of the source.
        target: array `(n, dim)`, features of the target, of the same backbone.
        inverse_penalty: positive float, `C` of scikit-learn's logistic regression on standardised features.
        folds: int of at least 2; at most as many as the smaller domain has rows.
        most: positive float, the largest weight, of a mean of 1: a few rows must not outweigh all.

    Returns:
        Array `(rows,)`, float32, of mean 1.

    Raises:
        ValueError: if features are not finite, of fewer than 2 rows, or of different dimensions, or a number is out of
            range.

    Reference:
        Bickel, Brueckner and Scheffer, Discriminative Learning for Differing Training and Test Distributions, ICML
        2007.
    """
    check_number(most, "most", above=1)
    told, _ = told_apart(source, target, inverse_penalty, folds)
    weights = np.exp(np.clip(told, -30, 30))
    for _ in range(20):  # what is cut off the largest falls to the others
        weights = np.minimum(weights / weights.mean(), most)
    return (weights / weights.mean()).astype("float32")


def deep_embedded_risk(losses, weights):
    """Returns the risk on the target, estimated from held-out rows of the source: DEV.

    risk = mean w l + eta (mean w - 1),   eta = -cov(w l, w) / var(w)

    The second term is a control variate: it takes off what the weights' own spread adds to that of the estimate.

    Args:
        losses: array `(rows,)`, losses of the model on labelled rows of the source that it was not trained on.
        weights: array `(rows,)`, their `importance_weights`, by the features of this model.

    Returns:
        Float, in the unit of the losses; low is good. It can be below 0.

    Raises:
        ValueError: if they are not finite, of one length, and of at least 2 rows.

    Reference:
        You, Wang, Long and Jordan, Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation, ICML 2019.
    """
    losses, weights = np.asarray(losses, "float64"), np.asarray(weights, "float64")
    if losses.ndim != 1 or losses.shape != weights.shape or len(losses) < 2:
        raise ValueError(
            f"Expected `losses` and `weights` of one shape (rows,), at least 2 rows; received {losses.shape} and "
            f"{weights.shape}."
        )
    check_finite([losses, weights], "losses and weights")
    weighted = weights * losses
    spread = weights.var(ddof=1)
    eta = -np.cov(weighted, weights)[0, 1] / spread if spread > 0 else 0.0
    return float(weighted.mean() + eta * (weights.mean() - 1.0))
