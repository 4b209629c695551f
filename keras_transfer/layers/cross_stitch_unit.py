"""Cross-stitch units: learned mixtures of the activations of towers."""

import keras
from keras import ops

from keras_transfer.checks import check_number


@keras.saving.register_keras_serializable(package="keras_transfer")
class CrossStitchUnit(keras.layers.Layer):
    """Mixes the activations of towers, channel by channel, by learned weights.

    y_i = sum over towers j of  a_ij x_j,   a_ij a vector over the channels

    Args:
        own: float from 0 to 1, what a tower's own activations count at the start; the rest to 1 comes from the others
            in equal parts.

    Input and output: `(batch, towers, ..., channels)`.

    Raises:
        ValueError: if `own` is no such number, or the input has fewer than 2 towers.

    Reference:
        Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016, arXiv:1604.03539.
    """

    def __init__(self, own=0.9, **kwargs):
        super().__init__(**kwargs)
        self.own = check_number(own, "own", least=0, most=1)

    def build(self, input_shape):
        """Makes the weights `(towers, towers, channels)`."""
        towers, channels = input_shape[1], input_shape[-1]
        if len(input_shape) < 3 or towers is None or towers < 2:
            raise ValueError(f"Expected inputs (batch, at least 2 towers, ..., channels); received {input_shape}.")

        def start(shape, dtype=None):
            other = (1.0 - self.own) / (towers - 1)
            mixture = ops.full((towers, towers), other, dtype) + (self.own - other) * ops.eye(towers, dtype=dtype)
            return ops.broadcast_to(mixture[..., None], shape)

        self.mixture = self.add_weight(shape=(towers, towers, channels), initializer=start, name="mixture")

    def call(self, x):
        """Returns the mixtures, of the input's shape."""
        return ops.einsum("ijc,bj...c->bi...c", self.mixture, x)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "own": self.own}
