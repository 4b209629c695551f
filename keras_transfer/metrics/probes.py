"""Probes: how well a simple classifier on frozen features does, fitted by scikit-learn."""

import importlib
import warnings

import numpy as np


def knn_accuracy(features, labels, test_features, test_labels, k=20):
    """Returns the accuracy of the vote of the k nearest neighbours by cosine.

    Args:
        features: array `(rows, dim)`.
        labels: integer array `(rows,)`.
        test_features: array `(n, dim)`.
        test_labels: integer array `(n,)`.
        k: int, neighbours; at most all rows vote.

    Returns:
        Float from 0 to 1.
    """
    neighbors = _sklearn("neighbors")
    classifier = neighbors.KNeighborsClassifier(min(k, len(features)), metric="cosine", algorithm="brute")
    return float(classifier.fit(_rows(features), labels).score(_rows(test_features), test_labels))


def linear_probe(features, labels, inverse_penalty=1.0, steps=1000):
    """Fits a logistic regression on standardised features.

    Args:
        features: array `(rows, dim)`.
        labels: integer array `(rows,)`.
        inverse_penalty: positive float, the `C` of scikit-learn's logistic regression.
        steps: int, most iterations.

    Returns:
        A fitted scikit-learn classifier.
    """
    scaler = _sklearn("preprocessing").StandardScaler()
    classifier = _sklearn("linear_model").LogisticRegression(C=inverse_penalty, max_iter=steps)
    pipeline = _sklearn("pipeline").make_pipeline(scaler, classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _sklearn("exceptions").ConvergenceWarning)  # `steps` is a limit
        return pipeline.fit(_rows(features), labels)


def linear_accuracy(features, labels, test_features, test_labels, inverse_penalty=1.0, steps=1000):
    """Returns the accuracy of `linear_probe` on other rows.

    Args:
        features: array `(rows, dim)`.
        labels: integer array `(rows,)`.
        test_features: array `(n, dim)`.
        test_labels: integer array `(n,)`.
        inverse_penalty: see `linear_probe`.
        steps: see `linear_probe`.

    Returns:
        Float from 0 to 1.
    """
    probe = linear_probe(features, labels, inverse_penalty, steps)
    return float(probe.score(_rows(test_features), test_labels))


def _rows(features):
    return np.asarray(features, "float32").reshape(len(features), -1)


def _sklearn(name):
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as error:
        raise ImportError("Probes need scikit-learn: pip install 'keras_transfer[recipes]'.") from error
