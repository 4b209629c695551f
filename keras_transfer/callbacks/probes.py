"""Probes between epochs: what the representation is worth, while it is learned."""

import keras
import numpy as np

from keras_transfer.metrics.probes import knn_accuracy, linear_accuracy


class KNNProbe(keras.callbacks.Callback):
    """Writes the accuracy of nearest neighbours on the features, `knn_accuracy`, into the logs.

    Other callbacks see it, if they come later in the list: `EarlyStopping("knn_accuracy", mode="max")`. Choose with
    validation labels, never with those of a test.

    Args:
        x: images with labels, `(rows, ...)`; some thousands are enough.
        y: integer array `(rows,)`.
        x_validation: images to classify, `(n, ...)`.
        y_validation: integer array `(n,)`.
        k: int, neighbours.
        every: int, epochs between probes; the epochs between repeat the last number.

    Example:

    ```python
    model.fit(stream, epochs=20, callbacks=[kt.callbacks.KNNProbe(x[:5000], y[:5000], x_validation, y_validation)])
    ```

    Reference:
        Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018,
        arXiv:1805.01978.
    """

    def __init__(self, x, y, x_validation, y_validation, k=20, every=1):
        super().__init__()
        _check(x, y, x_validation, y_validation)
        self.data, self.k, self.every, self.last = (x, y, x_validation, y_validation), k, every, None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the accuracy of nearest neighbours into the logs."""
        if self.last is None or (epoch + 1) % self.every == 0:
            self.last = knn_accuracy(*_features(self.model, self.data), k=self.k)
        logs["knn_accuracy"] = self.last


class LinearProbe(keras.callbacks.Callback):
    """Writes the accuracy of a logistic regression on the features, `linear_accuracy`, into the logs.

    Args:
        x: images with labels, `(rows, ...)`; some thousands are enough.
        y: integer array `(rows,)`.
        x_validation: images to classify, `(n, ...)`.
        y_validation: integer array `(n,)`.
        every: int, epochs between probes; the epochs between repeat the last number.

    Example: see `KNNProbe`.
    """

    def __init__(self, x, y, x_validation, y_validation, every=1):
        super().__init__()
        _check(x, y, x_validation, y_validation)
        self.data, self.every, self.last = (x, y, x_validation, y_validation), every, None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the accuracy of a logistic regression into the logs."""
        if self.last is None or (epoch + 1) % self.every == 0:
            self.last = linear_accuracy(*_features(self.model, self.data), steps=200)
        logs["linear_accuracy"] = self.last


def _features(model, data):
    x, y, x_validation, y_validation = data
    return model.predict(x, verbose=0), y, model.predict(x_validation, verbose=0), y_validation


def _check(x, y, x_validation, y_validation):
    for images, labels in ((x, y), (x_validation, y_validation)):
        if len(images) != len(labels) or not len(labels) or not np.issubdtype(np.asarray(labels).dtype, np.integer):
            raise ValueError(
                f"Expected images and as many integer labels; received {len(images)} and {len(labels)} of "
                f"{np.asarray(labels).dtype}."
            )
