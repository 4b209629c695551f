"""Scores of predictions on data without labels, by which methods and epochs of adaptation are chosen."""

import keras
import numpy as np


def information(logits):
    """Returns the mutual information of inputs and predictions: high where answers are sure and diverse.

    information = entropy of mean p - mean entropy of p

    Of the scores here it goes best with the accuracy that nobody can measure (`docs/adaptation.md`).

    Args:
        logits: array `(rows, classes)`.

    Returns:
        Float in nats, from 0 to log(classes).

    Raises:
        ValueError: if logits are not `(rows, classes)` of finite numbers.
    """
    p = _probabilities(logits)
    return _entropies(p.mean(0)) - prediction_entropy(logits)


def prediction_entropy(logits):
    """Returns the mean entropy of predictions in nats, from 0 to log(classes): low where answers are sure.

    One answer to everything has the best of scores: read it beside `information`.

    Args:
        logits: array `(rows, classes)`.

    Raises:
        ValueError: if logits are not `(rows, classes)` of finite numbers.
    """
    return _entropies(_probabilities(logits)).mean().item()


def nuclear_norm(logits):
    """Returns the nuclear norm of the predictions by the largest that it can be: high where sure and diverse.

    nuclear_norm = sum of the singular values of P / sqrt(min(rows, classes) rows),   P: softmax, (rows, classes)

    Args:
        logits: array `(rows, classes)`.

    Returns:
        Float, from 0 to 1.

    Raises:
        ValueError: if logits are not `(rows, classes)` of finite numbers.

    Reference:
        Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label Insufficient
        Situations, CVPR 2020, arXiv:2003.12237.
    """
    p = _probabilities(logits)
    values = np.linalg.svd(p, compute_uv=False)
    return float(values.sum() / np.sqrt(min(p.shape) * len(p)))


def neighborhood_density(logits, temperature=0.05):
    """Returns the soft neighbourhood density: high where each prediction has many others like it.

    density = mean over rows of the entropy of softmax over other rows of cos(p_i, p_j) / temperature

    Args:
        logits: array `(rows, classes)`, at least 2 rows; some thousands at most, as all pairs are looked at.
        temperature: float above 0.

    Returns:
        Float in nats, at most log(rows - 1).

    Raises:
        ValueError: if logits are not `(rows, classes)` of finite numbers, or there are fewer than 2 rows.

    Reference:
        Saito et al., Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood Density,
        ICCV 2021, arXiv:2108.10860.
    """
    p = _probabilities(logits)
    if len(p) < 2:
        raise ValueError(f"Expected at least 2 rows of logits; received {len(p)}.")
    rows = p / np.linalg.norm(p, axis=1, keepdims=True)
    alike = rows @ rows.T / temperature
    np.fill_diagonal(alike, -np.inf)
    alike = np.exp(alike - alike.max(1, keepdims=True))
    return _entropies(alike / alike.sum(1, keepdims=True)).mean().item()


def _probabilities(logits):
    """The softmax of logits, float64."""
    logits = np.asarray(logits, "float64")
    if logits.ndim != 2 or len(logits) == 0 or not np.isfinite(logits).all():
        raise ValueError(f"Expected finite logits of shape (rows, classes); received shape {logits.shape}.")
    return np.asarray(keras.ops.softmax(logits), "float64")


def _entropies(p):
    """The entropies of distributions along the last axis."""
    return -(p * np.log(np.maximum(p, 1e-300))).sum(-1)
