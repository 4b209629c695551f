"""GradNorm: weights that bring the tasks to learn at the same pace."""

import keras
from keras import ops

from keras_transfer import gradients
from keras_transfer.gradients import TINY
from keras_transfer.networks import keep_finite
from keras_transfer.weightings.base import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class GradNorm(GradientWeighting):
    """Learns weights by which each task's gradient has the mean length, more where a task lags behind.

    With G_t = w_t |g_t|, and the pace r_t = (loss_t / first loss_t) / mean over tasks:
    w descends  sum over t of |G_t - mean(G) r_t^a|  with the target held still, and is scaled to the sum of tasks.

    Args:
        asymmetry: float a of at least 0, how hard lagging tasks are pulled; 0: equal lengths.
        rate: positive float, of the weights' plain gradient descent, in mean lengths of a gradient.
        on: see `GradientWeighting`; by default the features that the heads read.

    Raises:
        ValueError: if one is out of range.

    Departs: gradients are those by the representation or all shared weights rather than by the last shared layer. The
    step is divided by mean(G), so that the rate does not depend on the losses' units, and weights stay above 0.

    Reference:
        Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks, ICML 2018,
        arXiv:1711.02257.
    """

    def __init__(self, asymmetry=1.5, rate=0.025, on="representation", **kwargs):
        super().__init__(on, **kwargs)
        if not asymmetry >= 0 or not rate > 0:
            raise ValueError(
                f"Expected an `asymmetry` of at least 0 and a positive `rate`; received {asymmetry}, {rate}."
            )
        self.asymmetry, self.rate = asymmetry, rate

    def build(self, input_shape):
        """Makes the weights, the losses, and the first ones, which the first batch with labels sets."""
        super().build(input_shape)
        self.task_weights, self.first = self.state("task_weights", 1.0), self.state("first", 0.0)
        self.losses_now = self.state("losses_now", 0.0)

    def call(self, losses, training=False):
        """Returns the sum of the losses, and keeps those of the global batch for the weights."""
        if training:
            keep_finite(self.losses_now, self.everywhere(losses))
        return super().call(losses, training)

    def coefficients(self, gram):
        """Moves the weights and returns them; where gradients are not finite, as they were."""
        losses = ops.convert_to_tensor(self.losses_now)
        known = ops.logical_or(self.first > 0, ops.logical_not(ops.all(ops.isfinite(gram))))
        self.first.assign(ops.where(known, self.first, losses))  # 0 until a batch has a label of the task
        lengths, tasks = gradients.lengths(gram), len(self.tasks)
        weighted = self.task_weights * lengths
        pace = ops.where(self.first > 0, losses / ops.maximum(self.first, TINY), 1.0)
        pace = pace / ops.maximum(ops.mean(pace), 1e-8)
        excess = ops.sign(weighted - ops.mean(weighted) * pace**self.asymmetry)
        moved = ops.maximum(self.task_weights - self.rate * excess * lengths / ops.mean(weighted), 1e-3)
        moved = tasks * moved / ops.sum(moved)
        keep_finite(self.task_weights, moved)
        return moved

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "asymmetry": self.asymmetry, "rate": self.rate}
