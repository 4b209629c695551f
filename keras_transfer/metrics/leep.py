"""LEEP: how well the classes of a classifier say those of another task."""

import numpy as np

from keras_transfer.metrics.rows import checked_classes, checked_features


def leep(probabilities, labels):
    """Returns LEEP, the log expected empirical prediction: how well a source classifier transfers to other labels.

    With the probabilities p_i(z) that the classifier gives its own classes z on the rows i of the new task,

        P(y | z) = sum over rows i of class y of p_i(z) / sum over all rows of p_i(z),
        LEEP = mean over i of log(sum over z of P(y_i | z) p_i(z)).

    It needs a backbone that still has its classifier. Higher is better.

    Args:
        probabilities: array `(rows, source classes)`, each row a distribution: a softmax, not logits.
        labels: array `(rows,)` of classes of the new task.

    Returns:
        Float of at most 0. The logarithms of the shares of the classes, averaged over rows, are what a classifier
        reaches that always says the same.

    Raises:
        ValueError: if rows are no distributions, or labels are not as many, or of one class.

    Example:

    ```python
    score = kt.metrics.leep(keras.ops.softmax(classifier.predict(x)), y)
    ```

    Reference:
        Nguyen et al., LEEP: A New Measure to Evaluate Transferability of Learned Representations, ICML 2020,
        arXiv:2002.12462.
    """
    p = checked_features(probabilities, "probabilities")
    classes, number = checked_classes(labels, len(p))
    if p.min() < 0 or abs(p.sum(-1) - 1).max() > 1e-3:
        raise ValueError(
            f"Expected `probabilities` of rows that sum to 1; received values from {p.min():.3g} to {p.max():.3g}, and "
            f"sums from {p.sum(-1).min():.3g} to {p.sum(-1).max():.3g}."
        )
    joint = np.eye(number)[classes].T @ p
    given = joint / np.maximum(joint.sum(0), np.finfo("float64").tiny)  # of a class without any probability nothing
    return float(np.log((given[classes] * p).sum(-1)).mean())
