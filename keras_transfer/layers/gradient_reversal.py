"""Gradient reversal: two opposed aims under one optimizer."""

import keras
from keras import ops

from keras_transfer.checks import check_number


@keras.saving.register_keras_serializable(package="keras_transfer")
class GradientReversal(keras.layers.Layer):
    """Returns its input unchanged, and reverses the gradient on the way back.

    forward:  y = x
    backward: dL/dx = -strength * dL/dy

    Args:
        strength: float of at least 0, the factor of the reversed gradient; 0 stops it. What shall change during
            training is passed to the call instead.

    Call arguments:
        x: tensor of any shape and floating dtype.
        strength: scalar that takes the place of the layer's own, such as the present value of a schedule.

    Raises:
        ValueError: if the layer's own `strength` is no such number.

    Example:

    ```python
    reverse = kt.layers.GradientReversal(strength=0.5)
    domain_logit = discriminator(reverse(features))
    domain_logit = discriminator(reverse(features, strength=schedule(step)))
    ```

    Reference:
        Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015, arXiv:1409.7495.
    """

    def __init__(self, strength=1.0, **kwargs):
        super().__init__(**kwargs)
        self.strength = check_number(strength, "strength", least=0)
        self.built = True

    def call(self, x, strength=None):
        """Returns `x`."""
        strength = ops.cast(self.strength if strength is None else strength, x.dtype)
        # Built from stop_gradient rather than a custom gradient, which a SavedModel would not restore. Written so that
        # the second term is exactly zero: the identity holds to the last bit.
        still = ops.stop_gradient(x)
        return still - strength * (x - still)

    def compute_output_shape(self, x_shape):
        """Returns the shape of the input."""
        return x_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "strength": self.strength}
