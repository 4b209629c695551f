"""PCGrad: each task's gradient without what points against another's."""

import keras
from keras import ops

from keras_transfer import gradients
from keras_transfer.weightings.base import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class PCGrad(GradientWeighting):
    """Projects each task's gradient onto the normal plane of those that it conflicts with, one after the other.

    g_i  <-  g_i - (g_i . g_j) / |g_j|^2 g_j   for each other task j, in random order, with g_i . g_j < 0

    Args:
        on: see `GradientWeighting`.
        seed: int for the orders, or None to draw one.

    Reference:
        Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, arXiv:2001.06782.
    """

    def __init__(self, on="parameters", seed=None, **kwargs):
        super().__init__(on, **kwargs)
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    def coefficients(self, gram):
        """Returns the coefficients of the sum of the projected gradients."""
        tasks = len(self.tasks)
        if tasks == 2:  # one other task each
            orders = ops.convert_to_tensor([[1, 0], [0, 1]], "int32")
        else:
            orders = ops.argsort(keras.random.uniform((tasks, tasks), seed=self.draws), axis=1)
        return gradients.pcgrad(gram, orders)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "seed": self.seed}
