"""Proxy A-distance: how well a linear classifier tells two domains apart."""

import warnings

import numpy as np

from keras_transfer.checks import check_integer, check_number
from keras_transfer.metrics.rows import checked_features
from keras_transfer.metrics.scikit_learn import one_thread, sklearn


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
    source, target = checked_features(source, "source"), checked_features(target, "target")
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            f"Expected `source` and `target` of one dimension; received {source.shape[1]} and {target.shape[1]}."
        )
    check_integer(folds, "folds", 2)
    check_number(inverse_penalty, "inverse_penalty", above=0)
    x = np.concatenate([source, target])
    y = np.repeat([0, 1], [len(source), len(target)])
    regression = sklearn("linear_model").LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=300)
    classifier = sklearn("pipeline").make_pipeline(sklearn("preprocessing").StandardScaler(), regression)
    selection = sklearn("model_selection")
    splits = selection.StratifiedKFold(min(folds, len(source), len(target)), shuffle=True, random_state=0)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", sklearn("exceptions").ConvergenceWarning)  # max_iter is a limit
        told = selection.cross_val_predict(classifier, x, y, cv=splits)
    error = np.mean([np.mean(told[y == domain] != domain) for domain in (0, 1)])
    return float(np.clip(2 * (1 - 2 * error), 0, 2))
