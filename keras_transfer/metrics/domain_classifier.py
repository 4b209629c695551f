"""The classifier that tells two domains apart, of which distances and weights are made."""

import warnings

import numpy as np

from keras_transfer.checks import check_integer, check_number
from keras_transfer.metrics.rows import checked_features
from keras_transfer.metrics.scikit_learn import feature_scaler, one_thread, sklearn


def told_apart(source, target, inverse_penalty, folds):
    """Returns what a logistic regression says of each row that is held out: the log of its odds to be of the target.

    Both domains count alike, whatever their numbers of rows.

    Args:
        source: array `(rows, dim)`, features of one domain.
        target: array `(n, dim)`, features of the other.
        inverse_penalty: positive float, `C` of scikit-learn's logistic regression on standardised features.
        folds: int of at least 2; at most as many as the smaller domain has rows.

    Returns:
        Arrays `(rows,)` and `(n,)`.

    Raises:
        ValueError: if features are not finite, of fewer than 2 rows, or of different dimensions, or a number is out of
            range.
    """
    source, target = checked_features(source, "source"), checked_features(target, "target")
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            f"Expected `source` and `target` of one dimension; received {source.shape[1]} and {target.shape[1]}."
        )
    check_integer(folds, "folds", 2)
    check_number(inverse_penalty, "inverse_penalty", above=0)
    x, y = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    regression = sklearn("linear_model").LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=300)
    classifier = sklearn("pipeline").make_pipeline(feature_scaler(), regression)
    selection = sklearn("model_selection")
    splits = selection.StratifiedKFold(min(folds, len(source), len(target)), shuffle=True, random_state=0)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", sklearn("exceptions").ConvergenceWarning)  # max_iter is a limit
        told = selection.cross_val_predict(classifier, x, y, cv=splits, method="decision_function")
    return told[: len(source)], told[len(source) :]
