"""Proxy A-distance: how well a linear classifier tells two domains apart."""

import numpy as np

from keras_transfer.metrics.domain_classifier import told_apart


def proxy_a_distance(source, target, inverse_penalty=0.01, folds=5):
    """Returns the proxy A-distance of two domains by their features.

    With the error e of a logistic regression that tells the domains apart, by cross-validation, the distance is
    2 (1 - 2 e), and not below 0. Both domains count alike, whatever their numbers of rows: e is the mean of the errors
    on either.

    Args:
        source: array `(rows, dim)`, features of one domain.
        target: array `(n, dim)`, features of the other, of the same backbone.
        inverse_penalty: positive float, `C` of scikit-learn's logistic regression on standardised features.
        folds: int of at least 2; at most as many as the smaller domain has rows.

    Returns:
        Float from 0, the classifier does no better than chance, to 2, it makes no error.

    Raises:
        ValueError: if features are not finite, of fewer than 2 rows, or of different dimensions.

    Example:

    ```python
    before = kt.metrics.proxy_a_distance(encoder.predict(source), encoder.predict(target))
    ```

    Reference:
        Ben-David et al., Analysis of Representations for Domain Adaptation, NeurIPS 2006. The authors use a linear
        classifier of another loss.
    """
    of_source, of_target = told_apart(source, target, inverse_penalty, folds)
    error = (np.mean(of_source > 0) + np.mean(of_target <= 0)) / 2
    return float(np.clip(2 * (1 - 2 * error), 0, 2))
