"""LogME: how well features explain labels, as the evidence of a linear model of them."""

import numpy as np

from keras_transfer.metrics.rows import checked_classes, checked_features

RANGE = 1e-8, 1e8  # of the ratio, by the largest squared singular value


def log_me(features, labels):
    """Returns LogME: the logarithm of maximum evidence of labels given features, to rank backbones without training.

    For each class the labels y, 1 for its rows and 0 for all others, are modelled by

        y = F w + noise,  w ~ N(0, 1/a),  noise ~ N(0, 1/b),
        evidence p(y | F) = N(y; 0, F F' / a + I / b),

    and log p(y | F), maximised over a and b, is divided by the number of rows and averaged over the classes. Higher is
    better; it is comparable among features of the same labels, whatever their dimensions, and among nothing else: with
    more classes it rises by itself.

    Args:
        features: array `(rows, dim)`, as a frozen backbone makes them, see `kt.backbones.cached_features`.
        labels: array `(rows,)` of classes.

    Returns:
        Float, the mean log evidence of a row.

    Raises:
        ValueError: if features are not finite, or labels are not as many, or of one class.

    Example:

    ```python
    scores = {name: kt.metrics.log_me(kt.backbones.cached_features(backbones[name], x), y) for name in backbones}
    ```

    Reference:
        You et al., LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021,
        arXiv:2102.11005.

    Departs:
        The paper iterates a fixed point over a and b. For a given ratio a / b the best b has a closed form, so here the
        ratio alone is searched, on a grid of its logarithm that closes in on the largest value. The ratio
        stays within 1e-8 and 1e8 times the largest squared singular value of F, so that the evidence is finite where
        features tell the labels without noise.
    """
    x = checked_features(features)
    classes, number = checked_classes(labels, len(x))
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    squared = singular**2 if singular[0] > 0 else np.ones_like(singular)
    y = np.eye(number)[classes]
    explained = (left.T @ y) ** 2 if singular[0] > 0 else np.zeros((len(singular), number))
    outside = np.maximum(y.sum(0) - explained.sum(0), 0)
    return float(np.mean([_evidence(squared, part, rest, len(x)) for part, rest in zip(explained.T, outside)]))


def _evidence(squared, explained, outside, rows):
    """The largest log evidence of a row, over the ratio of prior precision to noise precision."""
    low, high = np.log(squared[0]) + np.log(RANGE)
    for _ in range(6):  # each narrows the range to a twentieth
        ratios = np.linspace(low, high, 41)
        gain = squared / np.exp(ratios)[:, None]
        noise = ((explained / (1 + gain)).sum(-1) + outside) / rows
        found = -0.5 * (np.log(2 * np.pi * noise) + 1 + np.log1p(gain).sum(-1) / rows)
        best = np.argmax(found)
        low, high = ratios[max(best - 1, 0)], ratios[min(best + 1, len(ratios) - 1)]
    return found[best]
