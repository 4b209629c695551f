"""Weights of the tasks from how fast their losses fall."""

import keras
from keras import ops

from keras_transfer.checks import check_integer, check_number
from keras_transfer.gradients import TINY
from keras_transfer.weightings.base import Weighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class DynamicWeightAverage(Weighting):
    """Weighs a task more the slower its loss fell lately.

    weights = tasks * softmax(r / T),  r_t = mean loss of the last window / mean loss of the one before

    Args:
        steps: int of at least 1, training steps in a window; those of an epoch in the paper.
        temperature: positive float T; large ones bring the weights closer together.

    Raises:
        ValueError: if one is out of range.

    Departs: windows are counted in steps, so that one epoch can hold many; steps whose losses are not finite do not
    count. The first two have equal weights.

    Reference:
        Liu, Johns and Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019, arXiv:1803.10704, equation 7.
    """

    def __init__(self, steps=100, temperature=2.0, **kwargs):
        super().__init__(**kwargs)
        self.steps = check_integer(steps, "steps")
        self.temperature = check_number(temperature, "temperature", above=0)

    def build(self, input_shape):
        """Makes the windows' means and the count of steps."""
        super().build(input_shape)
        self.sums, self.last, self.before = (self.state(name, 0.0) for name in ("sums", "last", "before"))
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False, aggregation="only_first_replica", name="count"
        )

    def call(self, losses, training=False):
        """Returns the weighted sum in training, otherwise the plain one."""
        if not training:
            return ops.sum(self.stack(losses))
        known = ops.all(self.before > 0)
        ratios = ops.where(known, self.last / ops.maximum(self.before, TINY), 1.0)
        total = self.weigh(losses, len(self.tasks) * ops.softmax(ratios / self.temperature), training)
        found = self.everywhere(losses)
        finite = ops.all(ops.isfinite(found))
        count = self.count + ops.where(finite, 1.0, 0.0)
        sums = self.sums + ops.where(finite, found, 0.0)
        full = count >= self.steps
        last, before = ops.where(full, sums / self.steps, self.last), ops.where(full, self.last, self.before)
        for variable, value in zip((self.last, self.before), (last, before)):
            variable.assign(value)
        self.sums.assign(ops.where(full, 0.0, sums))
        self.count.assign(ops.where(full, 0.0, count))
        return total

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "steps": self.steps, "temperature": self.temperature}
