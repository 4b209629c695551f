"""What metrics of features are given, checked: rows of finite numbers, and a class for each."""

import numpy as np

from keras_transfer.checks import check_finite


def checked_features(features, name="features"):
    """Returns features as float64 `(rows, dim)`.

    Args:
        features: array `(rows, ...)`; what is beyond the first axis is one.
        name: str, what an error calls them.

    Raises:
        ValueError: if there are fewer than 2 rows, or values that are not finite.
    """
    features = np.asarray(features)
    if features.ndim < 1 or len(features) < 2:
        raise ValueError(f"Expected `{name}` (rows, dim) of at least 2 rows; received shape {features.shape}.")
    features = features.reshape(len(features), -1).astype("float64")
    check_finite(features, name)
    return features


def checked_classes(labels, rows):
    """Returns the class of each row as a place among the classes that are there, `(rows,)`, and how many these are.

    Args:
        labels: array `(rows,)` of anything that can be sorted.
        rows: int.

    Raises:
        ValueError: if there are not as many labels, or all are one class.
    """
    labels = np.asarray(labels)
    if labels.shape != (rows,):
        raise ValueError(f"Expected `labels` of shape {(rows,)}; received {labels.shape}.")
    names, places = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"Expected `labels` of at least two classes; received {names.tolist()} alone.")
    return places, len(names)
