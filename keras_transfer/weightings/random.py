"""Random weights of the tasks, the control."""

import keras
from keras import ops

from keras_transfer.weightings.base import Weighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class RandomWeighting(Weighting):
    """Weighs the tasks anew at random in each step: what a cleverer weighting has to beat.

    weights = tasks * softmax(normal draws)

    Args:
        seed: int, or None to draw one.

    Reference:
        Lin et al., Reasonable Effectiveness of Random Weighting, TMLR 2022, arXiv:2111.10603 (RLW).
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    def call(self, losses, training=False):
        """Returns the weighted sum in training, otherwise the plain one."""
        if not training:
            return ops.sum(self.stack(losses))
        tasks = len(self.tasks)
        return self.weigh(losses, tasks * ops.softmax(keras.random.normal((tasks,), seed=self.draws)), training)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "seed": self.seed}
