"""Watches a representation for collapse: all images at one point, or in few directions."""

import warnings

import keras

from keras_transfer.metrics.collapse import alignment, effective_rank, embedding_std, uniformity
from keras_transfer.streams import gate

_VIEWS = ("view_1", "view_2")


class CollapseMonitor(keras.callbacks.Callback):
    """Writes signs of collapse into the logs: `embedding_std`, `effective_rank`, `uniformity` and `alignment`.

    They are those of `model.predict`, which are the encoder's features, on a fixed set of images; see `kt.metrics`. If
    the features collapse, a warning says so once.

    Args:
        x: images `(rows, ...)`, some hundreds; or a dict of `view_1` and `view_2` of the same images, such as a batch
            of `kt.streams.views`, which `alignment` needs.
        threshold: float, the `embedding_std` below which features count as collapsed; 1 is as spread as can be.

    Raises:
        ValueError: if there are fewer than 2 images, or one view without the other, or x is no array of finite numbers
            or strings, such as a dataset or a batch with its labels. The error says what helps.

    Example:

    ```python
    held_out = next(iter(kt.streams.views(x_validation, augment)))
    model.fit(stream, epochs=20, callbacks=[kt.callbacks.CollapseMonitor(held_out)])
    ```
    """

    def __init__(self, x, threshold=0.02):
        super().__init__()
        if isinstance(x, tuple) and x and isinstance(x[0], dict):
            raise ValueError("Expected images or a dict of views; received a batch with labels: pass its `[0]`.")
        views = set(_VIEWS) & set(x) if isinstance(x, dict) else set()
        if views and set(x) != set(_VIEWS):
            raise ValueError(f"Expected a dict of {_VIEWS}; received one of {tuple(x)}.")
        x = gate.arrays(x, "x")
        self.views = [x[name] for name in _VIEWS] if views else [x]
        self.threshold, self.warned = threshold, False
        if gate.length(self.views[0]) < 2:
            raise ValueError(f"Expected at least 2 images to see a spread; received {gate.length(self.views[0])}.")

    def on_epoch_end(self, epoch, logs=None):
        """Measures the features, and warns once if they have collapsed."""
        features = [self.model.predict(view, verbose=0) for view in self.views]
        logs["embedding_std"] = embedding_std(features[0])
        logs["effective_rank"] = effective_rank(features[0])
        logs["uniformity"] = uniformity(features[0])
        if len(features) > 1:
            logs["alignment"] = alignment(*features)
        if logs["embedding_std"] < self.threshold and not self.warned:
            self.warned = True
            warnings.warn(
                f"The features have collapsed: after epoch {epoch + 1} their spread is {logs['embedding_std']:.2g}, "
                f"below {self.threshold}. What helps: a lower learning rate or a warm-up; BatchNormalization in "
                "projector and predictor; for BYOL a momentum nearer to 1; for SimSiam a smaller predictor and SGD; "
                "for BarlowTwins and VICReg larger batches; stronger augmentation does not.",
                stacklevel=2,
            )
