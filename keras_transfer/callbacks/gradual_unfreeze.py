"""Gradual unfreezing: groups of variables thaw one after the other."""

import keras

from keras_transfer.finetuning.rates import LayerwiseOptimizer


class GradualUnfreeze(keras.callbacks.Callback):
    """Thaws groups of variables one after the other, usually from the output backwards.

    A group that waits has the multiplier 0 in the model's `LayerwiseOptimizer`, then the one that its `rates` give. So
    nothing is compiled or traced again, and moments are kept. The state follows from the number of the epoch alone:
    training resumes with `fit(..., initial_epoch=...)`. Multipliers stay as the last epoch left them.

    Groups that wait still see training mode: Dropout drops, and BatchNormalization uses and moves its statistics. Call
    `finetuning.freeze_batch_norm(model)` before `compile` if it should not.

    Args:
        epochs: dict of patterns, keys of the optimizer's `rates`, to the first epoch in which the group trains, counted
            from 0. Variables of other patterns, or of none, train at all times.

    Raises:
        ValueError: when training begins, if the optimizer is no `LayerwiseOptimizer` or does not have a pattern.

    Example:

    ```python
    rates = finetuning.discriminative_rates([".*block_1/.*", ".*block_2/.*", ".*block_3/.*"])
    model.compile(finetuning.LayerwiseOptimizer(keras.optimizers.Adam(1e-3), rates), loss)
    thaw = GradualUnfreeze({".*block_3/.*": 1, ".*block_2/.*": 2, ".*block_1/.*": 3})
    model.fit(x, y, epochs=6, callbacks=[thaw])
    ```

    Reference:
        Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, ACL 2018, arXiv:1801.06146.
    """

    def __init__(self, epochs):
        super().__init__()
        self.epochs = dict(epochs)

    def on_train_begin(self, logs=None):
        """Checks that the optimizer has the groups."""
        optimizer = self._optimizer()
        if not isinstance(optimizer, LayerwiseOptimizer):
            raise ValueError(
                f"Expected a model compiled with a `LayerwiseOptimizer`; received {type(optimizer).__name__}."
            )
        unknown = [pattern for pattern in self.epochs if pattern not in optimizer.rates]
        if unknown:
            raise ValueError(
                f"Expected patterns among the optimizer's rates {list(optimizer.rates)}; received {unknown}."
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the multipliers of this epoch."""
        optimizer = self._optimizer()
        for pattern, first in self.epochs.items():
            optimizer.multipliers[pattern].assign(optimizer.rates[pattern] if epoch >= first else 0.0)

    def _optimizer(self):
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # in LossScaleOptimizer
