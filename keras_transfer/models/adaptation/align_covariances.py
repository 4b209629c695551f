"""CORAL in closed form: features of the source that have the target's covariance."""

import numpy as np

from keras_transfer.checks import check_finite, check_number


def align_covariances(source, target, regularization=1.0):
    """Returns the source's features with the covariance of the target's, for a classifier that then reads the target.

    aligned = source C_source^-1/2 C_target^1/2,   C = covariance + regularization * identity

    Nothing trains, and the target stays as it is: what is fitted to the result is served on the target's features.
    Standardise each domain first, by its own mean and deviation.

    Args:
        source: array `(rows, dim)`, at least 2 rows.
        target: array `(n, dim)`, at least 2 rows.
        regularization: float above 0, what is added to each variance.

    Returns:
        Array `(rows, dim)`, float32.

    Raises:
        ValueError: if the features are not finite, of fewer than 2 rows or of different widths, or the regularization
            is not above 0.

    Example:

    ```python
    probe, _ = kt.metrics.tuned_probe(kt.models.align_covariances(source, target), labels)
    ```

    Reference:
        Sun, Feng and Saenko, Return of Frustratingly Easy Domain Adaptation, AAAI 2016, arXiv:1511.05547.
    """
    source, target = (np.asarray(x, "float64") for x in (source, target))
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1] or min(len(source), len(target)) < 2:
        raise ValueError(
            "Expected `source` and `target` (rows, dim) of the same dim and at least 2 rows; received shapes "
            f"{source.shape} and {target.shape}."
        )
    check_finite([source, target], "source and target")
    check_number(regularization, "regularization", above=0)

    def power(x, exponent):
        covariance = np.atleast_2d(np.cov(x, rowvar=False)) + regularization * np.eye(x.shape[1])
        values, vectors = np.linalg.eigh(covariance)
        return (vectors * np.maximum(values, regularization) ** exponent) @ vectors.T

    return (source @ power(source, -0.5) @ power(target, 0.5)).astype("float32")
