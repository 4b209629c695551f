"""Schedules of the training step, for weights and strengths that change during training."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_transfer")
class DannRamp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from 0 to `peak`, fast at first: 2 / (1 + exp(-gamma p)) - 1, where p = step / steps, at most 1.

    At p = 1 it has reached 0.99991 of the peak for a gamma of 10.

    Args:
        steps: int, the number of training steps of the ramp; usually all of them.
        peak: float, the value that it approaches.
        gamma: float, the steepness.

    Reference:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, arXiv:1505.07818, section 5.2.2.
    """

    def __init__(self, steps, peak=1.0, gamma=10.0):
        self.steps, self.peak, self.gamma = _positive(steps), peak, gamma

    def __call__(self, step):
        """Returns the value at a step."""
        progress = _progress(step, self.steps)
        return self.peak * (2.0 / (1.0 + ops.exp(-self.gamma * progress)) - 1.0)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"steps": self.steps, "peak": self.peak, "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="keras_transfer")
class LinearRamp(keras.optimizers.schedules.LearningRateSchedule):
    """Goes from `start` to `end` in a straight line, then stays.

    Args:
        steps: int, the number of training steps of the ramp.
        start: float, the value at step 0.
        end: float, the value from step `steps` on.
    """

    def __init__(self, steps, start=0.0, end=1.0):
        self.steps, self.start, self.end = _positive(steps), start, end

    def __call__(self, step):
        """Returns the value at a step."""
        return self.start + (self.end - self.start) * _progress(step, self.steps)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"steps": self.steps, "start": self.start, "end": self.end}


@keras.saving.register_keras_serializable(package="keras_transfer")
class CosineRamp(keras.optimizers.schedules.LearningRateSchedule):
    """Goes from `start` to `end` along half a cosine, slowly at both ends, then stays; for a teacher's momentum.

    Args:
        steps: int, the number of training steps of the ramp; usually all of them.
        start: float, the value at step 0.
        end: float, the value from step `steps` on.

    Reference:
        Grill et al., Bootstrap Your Own Latent, NeurIPS 2020, arXiv:2006.07733, section 3.2.
    """

    def __init__(self, steps, start=0.996, end=1.0):
        self.steps, self.start, self.end = _positive(steps), start, end

    def __call__(self, step):
        """Returns the value at a step."""
        return self.end - (self.end - self.start) * (ops.cos(math.pi * _progress(step, self.steps)) + 1.0) / 2.0

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"steps": self.steps, "start": self.start, "end": self.end}


def _positive(steps):
    if steps <= 0:
        raise ValueError(f"Expected a positive number of steps; received {steps}.")
    return steps


def _progress(step, steps):
    return ops.minimum(ops.cast(step, "float32") / steps, 1.0)
