"""CAGrad: near the mean of the gradients, what is best for the task that gains least."""

import keras

from keras_transfer import gradients
from keras_transfer.checks import check_number
from keras_transfer.weightings.base import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class CAGrad(GradientWeighting):
    """Steps along the vector within a ball around the mean gradient that improves the worst task most.

    update = tasks * argmax over d with |d - g| <= c |g| of  min over t of  g_t . d,   g the mean gradient

    Args:
        strength: float c in [0, 1); 0 is equal weighting, near 1 close to MGDA.
        on: see `GradientWeighting`.

    Raises:
        ValueError: if the strength is out of range.

    Reference:
        Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS 2021, arXiv:2110.14048.
    """

    def __init__(self, strength=0.5, on="parameters", **kwargs):
        super().__init__(on, **kwargs)
        self.strength = check_number(strength, "strength", least=0, below=1)

    def coefficients(self, gram):
        """Returns the coefficients, times the number of tasks."""
        return len(self.tasks) * gradients.cagrad(gram, self.strength)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "strength": self.strength}
