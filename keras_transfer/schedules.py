"""Schedules of the training step, for weights and strengths that change during training."""

import math

import keras
from keras import ops

from keras_transfer.checks import check_number


@keras.saving.register_keras_serializable(package="keras_transfer")
class DannRamp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from 0 to `peak`, fast at first: 2 / (1 + exp(-gamma p)) - 1, where p = step / steps, at most 1.

    At p = 1 it has reached 0.99991 of the peak for a gamma of 10.

    Args:
        steps: int, the number of training steps of the ramp; usually all of them.
        peak: float of at least 0, the value that it approaches.
        gamma: float above 0, the steepness.

    Raises:
        ValueError: if an argument is no such number.

    Reference:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, arXiv:1505.07818, section 5.2.2.
    """

    def __init__(self, steps, peak=1.0, gamma=10.0):
        self.steps = check_number(steps, "steps", above=0)
        self.peak, self.gamma = check_number(peak, "peak", least=0), check_number(gamma, "gamma", above=0)

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
        start: float of at least 0, the value at step 0.
        end: float of at least 0, the value from step `steps` on.

    Raises:
        ValueError: if an argument is no such number.
    """

    def __init__(self, steps, start=0.0, end=1.0):
        self.steps = check_number(steps, "steps", above=0)
        self.start, self.end = check_number(start, "start", least=0), check_number(end, "end", least=0)

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
        start: float of at least 0, the value at step 0.
        end: float of at least 0, the value from step `steps` on.

    Raises:
        ValueError: if an argument is no such number.

    Reference:
        Grill et al., Bootstrap Your Own Latent, NeurIPS 2020, arXiv:2006.07733, section 3.2.
    """

    def __init__(self, steps, start=0.996, end=1.0):
        self.steps = check_number(steps, "steps", above=0)
        self.start, self.end = check_number(start, "start", least=0), check_number(end, "end", least=0)

    def __call__(self, step):
        """Returns the value at a step."""
        return self.end - (self.end - self.start) * (ops.cos(math.pi * _progress(step, self.steps)) + 1.0) / 2.0

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"steps": self.steps, "start": self.start, "end": self.end}


def _progress(step, steps):
    return ops.minimum(ops.cast(step, "float32") / steps, 1.0)
