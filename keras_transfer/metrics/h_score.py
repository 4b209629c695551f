"""H-score: how far apart features hold the classes, measured by their own spread."""

import numpy as np

from keras_transfer.metrics.rows import checked_classes, checked_features
from keras_transfer.metrics.scikit_learn import sklearn


def h_score(features, labels):
    """Returns the H-score with a shrunk covariance: the share of the spread of features that lies between classes.

        H = (1 - s) trace(((1 - s) C + s v I)^-1 B)

    with the covariance C of the features, their mean variance v, the covariance B of the means of the classes, by
    their rows, and the shrinkage s of Ledoit and Wolf, which lets it be computed with fewer rows than dimensions.

    Args:
        features: array `(rows, dim)`, as a frozen backbone makes them.
        labels: array `(rows,)` of classes.

    Returns:
        Float from 0 to at most the number of classes minus 1; higher is better. It is 0 for features without spread.

    Raises:
        ValueError: if features are not finite, or labels are not as many, or of one class.

    References:
        Bao et al., An Information-Theoretic Approach to Transferability in Task Transfer Learning, ICIP 2019.
        The shrinkage: Ibrahim et al., Newer is not always better: Rethinking transferability metrics, their
        peculiarities, stability and performance, ECML PKDD 2022, arXiv:2110.06893.
    """
    x = checked_features(features)
    classes, number = checked_classes(labels, len(x))
    x = x - x.mean(0)
    if not x.any():
        return 0.0
    covariance, shrinkage = sklearn("covariance").ledoit_wolf(x, assume_centered=True)
    member = np.eye(number)[classes]
    counts = member.sum(0)
    means = (member.T @ x) / counts[:, None]
    weighted = np.sqrt(counts / len(x))[:, None] * means  # whose product with itself is B
    inverse = np.linalg.pinv(covariance, rcond=1e-12, hermitian=True)  # features may be constant in a dimension
    return float((1 - shrinkage) * np.trace(weighted @ inverse @ weighted.T))
