"""MGDA: the shortest mean of the tasks' gradients."""

import keras
from keras import ops

from keras_transfer import gradients
from keras_transfer.weightings.base import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class MGDA(GradientWeighting):
    """Steps along the shortest vector among the weighted means of the gradients, which harms no task.

    update = tasks * sum of  w_t g_t,  with w >= 0 of sum 1 and the least length

    Args:
        normalized: bool, whether the gradients are brought to their mean length before; otherwise the shortest ones,
            of tasks that are nearly solved or measured in small units, prevail.
        on: see `GradientWeighting`; `"representation"` is the upper bound of the paper's section 3.3, MGDA-UB.

    Departs: gradients that were normalised stay so in the update; the authors' code weighs the losses as they are.

    Reference:
        Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018, arXiv:1810.04650.
    """

    def __init__(self, normalized=True, on="parameters", **kwargs):
        super().__init__(on, **kwargs)
        self.normalized = normalized

    def coefficients(self, gram):
        """Returns the weights, times the number of tasks."""
        scale = ops.ones_like(gram[0])
        if self.normalized:
            lengths = gradients.lengths(gram)
            scale = ops.mean(lengths) / lengths
        return len(self.tasks) * scale * gradients.mgda(gram * scale[:, None] * scale)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "normalized": self.normalized}
