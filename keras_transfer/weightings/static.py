"""Weights of the tasks that stay as they are."""

import keras

from keras_transfer.weightings.base import Weighting


@keras.saving.register_keras_serializable(package="keras_transfer")
class StaticWeighting(Weighting):
    """Weighs each task's loss by a number.

    total = sum over tasks of  weight_t loss_t

    Args:
        weights: dict of the tasks' names to floats of at least 0.

    Raises:
        ValueError: if a weight is negative, or the names are not those of the tasks.

    Example:

    ```python
    model = kt.models.SharedEncoder(encoder, heads, kt.weightings.StaticWeighting({"depth": 1.0, "label": 0.1}))
    ```
    """

    def __init__(self, weights, **kwargs):
        super().__init__(**kwargs)
        negative = {task: weight for task, weight in weights.items() if not weight >= 0}
        if negative:
            raise ValueError(f"Expected weights of at least 0; received {negative}.")
        self.weights_of = dict(weights)

    def build(self, input_shape):
        """Checks that each task has a weight, and makes the state."""
        if set(input_shape) != set(self.weights_of):
            raise ValueError(
                f"Expected a weight for each of the tasks {sorted(input_shape)}; received {sorted(self.weights_of)}."
            )
        super().build(input_shape)

    def call(self, losses, training=False):
        """Returns the weighted sum."""
        return self.weigh(losses, self.stack(self.weights_of), training)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "weights": self.weights_of}
