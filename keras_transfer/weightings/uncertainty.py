"""Weights of the tasks from what noise the model learns to expect in each."""

import keras
from keras import ops

from keras_transfer.gradients import TINY
from keras_transfer.networks import keep_finite
from keras_transfer.weightings.base import Weighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class Uncertainty(Weighting):
    """Weighs each task by a learned variance: a task that stays far off counts less.

    With s_t the logarithm of the variance of task t, which is trained like any weight:

    classification:  exp(-s_t) loss_t + s_t / 2,  least at exp(s_t) = 2 loss_t
    regression:      exp(-s_t) loss_t / 2 + s_t / 2,  loss the mean squared error, least at exp(s_t) = loss_t

    Args:
        regression: names of the tasks with a squared error; all others are classifications.
        rate: positive float; under Adam, how many times the optimizer's rate the log-variances move. 1 is slow: at a
            rate of 0.001 a weight of 1/100 is 5,000 steps away. Under plain SGD it counts squared.
        from_first_losses: bool, whether the log-variances begin where they are least for the first batch with labels,
            so that units do not matter; otherwise at 0. A first loss that is not finite is passed over. Adam forgets
            large gradients of the first steps only slowly.

    Raises:
        ValueError: if the rate is not positive, or a name in `regression` is no task.

    Departs: with `from_first_losses` in where the log-variances begin.

    Reference:
        Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
        Semantics, CVPR 2018, arXiv:1705.07115, equations 5 and 10.
    """

    def __init__(self, regression=(), rate=1.0, from_first_losses=False, **kwargs):
        super().__init__(**kwargs)
        if not rate > 0:
            raise ValueError(f"Expected a positive `rate`; received {rate}.")
        self.regression, self.rate, self.from_first_losses = tuple(regression), rate, from_first_losses

    def build(self, input_shape):
        """Checks `regression`, and makes the log-variances."""
        unknown = set(self.regression) - set(input_shape)
        if unknown:
            raise ValueError(
                f"Expected `regression` among the tasks {sorted(input_shape)}; received {sorted(unknown)}."
            )
        super().build(input_shape)
        self.scaled_log_variances = self.state("scaled_log_variances", 0.0, trainable=True)
        self.first = self.state("first", 0.0) if self.from_first_losses else None

    @property
    def halves(self):
        """What the tasks' squared errors or other losses count in their likelihoods `(tasks,)`."""
        return ops.convert_to_tensor([0.5 if task in self.regression else 1.0 for task in self.tasks], "float32")

    @property
    def log_variances(self):
        """The log-variances `(tasks,)`."""
        moved = self.rate * ops.convert_to_tensor(self.scaled_log_variances)
        if self.first is None:
            return moved
        return moved + ops.where(self.first > 0, ops.log(2.0 * self.halves * ops.maximum(self.first, TINY)), 0.0)

    def call(self, losses, training=False):
        """Returns the tasks' losses by their weights, and half of the log-variances."""
        if training and self.first is not None:
            everywhere = self.everywhere(losses)
            keep_finite(self.first, ops.where(self.first > 0, self.first, everywhere))
        losses = self.stack(losses)
        weights = self.halves * ops.exp(-self.log_variances)
        if training:
            keep_finite(self.used, weights)
        return ops.sum(weights * losses + 0.5 * self.log_variances)

    def get_config(self):
        """Returns the settings."""
        return {
            **super().get_config(),
            "regression": self.regression,
            "rate": self.rate,
            "from_first_losses": self.from_first_losses,
        }
