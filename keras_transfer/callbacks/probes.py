"""Probes between epochs: what the representation is worth, while it is learned."""

import keras
import numpy as np

from keras_transfer.metrics.probes import knn_accuracy, linear_accuracy
from keras_transfer.streams import gate


class KNNProbe(keras.callbacks.Callback):
    """Writes the accuracy of nearest neighbours on the features, `knn_accuracy`, into the logs.

    Other callbacks see it, if they come later in the list: `EarlyStopping("knn_accuracy", mode="max")`. Choose with
    validation labels, never with those of a test.

    Args:
        x: images with labels, `(rows, ...)`, or a dict or tuple of arrays; some thousands are enough.
        y: integer array `(rows,)`.
        x_validation: images to classify, `(n, ...)`.
        y_validation: integer array `(n,)`.
        k: int, neighbours.
        every: int, epochs between probes; the epochs between repeat the last number.
        check_range: bool, whether to refuse `x` and `x_validation` whose largest absolute values differ by more than
            ten times. False lets ids and values with heavy tails pass.

    Raises:
        ValueError: if `x` and `x_validation` are no arrays of finite numbers or strings, such as datasets; if they
            differ in structure, shape or range; if labels are not as many integers, or of one class. The error says
            what helps.

    Example:

    ```python
    model.fit(stream, epochs=20, callbacks=[kt.callbacks.KNNProbe(x[:5000], y[:5000], x_validation, y_validation)])
    ```

    Reference:
        Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018,
        arXiv:1805.01978.
    """

    def __init__(self, x, y, x_validation, y_validation, k=20, every=1, check_range=True):
        super().__init__()
        gate.check_count(k, "k", 1)
        gate.check_count(every, "every", 1)
        self.data = _checked(x, y, x_validation, y_validation, check_range)
        self.k, self.every, self.last = k, every, None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the accuracy of nearest neighbours into the logs."""
        if self.last is None or (epoch + 1) % self.every == 0:
            self.last = knn_accuracy(*_features(self.model, self.data), k=self.k)
        logs["knn_accuracy"] = self.last


class LinearProbe(keras.callbacks.Callback):
    """Writes the accuracy of a logistic regression on the features, `linear_accuracy`, into the logs.

    Args:
        x: images with labels, `(rows, ...)`, or a dict or tuple of arrays; some thousands are enough.
        y: integer array `(rows,)`.
        x_validation: images to classify, `(n, ...)`.
        y_validation: integer array `(n,)`.
        every: int, epochs between probes; the epochs between repeat the last number.
        check_range: bool, whether to refuse `x` and `x_validation` whose largest absolute values differ by more than
            ten times. False lets ids and values with heavy tails pass.

    Raises:
        ValueError: if `x` and `x_validation` are no arrays of finite numbers or strings, such as datasets; if they
            differ in structure, shape or range; if labels are not as many integers, or of one class. The error says
            what helps.

    Example: see `KNNProbe`.
    """

    def __init__(self, x, y, x_validation, y_validation, every=1, check_range=True):
        super().__init__()
        gate.check_count(every, "every", 1)
        self.data, self.every, self.last = _checked(x, y, x_validation, y_validation, check_range), every, None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the accuracy of a logistic regression into the logs."""
        if self.last is None or (epoch + 1) % self.every == 0:
            self.last = linear_accuracy(*_features(self.model, self.data), steps=200)
        logs["linear_accuracy"] = self.last


def _features(model, data):
    x, y, x_validation, y_validation = data
    return model.predict(x, verbose=0), y, model.predict(x_validation, verbose=0), y_validation


def _checked(x, y, x_validation, y_validation, check_range):
    """Returns the four as arrays."""
    x, x_validation = gate.arrays(x, "x"), gate.arrays(x_validation, "x_validation")
    y, y_validation = gate.integer_labels(y, "y"), gate.integer_labels(y_validation, "y_validation")
    for images, labels in ((x, y), (x_validation, y_validation)):
        if gate.length(images) != len(labels) or not len(labels):
            raise ValueError(
                f"Expected images and as many integer labels; received {gate.length(images)} and {len(labels)}."
            )
    shapes = [keras.tree.map_structure(lambda array: f"{array.shape[1:]}", part) for part in (x, x_validation)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"Expected `x` and `x_validation` of one structure and shape; received {shapes[0]} and {shapes[1]}."
        )
    if len(np.unique(y)) < 2:
        raise ValueError(f"Expected labels of at least 2 classes in `y`; received {y[0]} alone.")
    if check_range:
        gate.check_range(x, x_validation, ("x", "x_validation"))
    return x, y, x_validation, y_validation
