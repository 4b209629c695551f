"""The gate of a mixture of experts."""

import keras
from keras import ops

from keras_transfer.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_transfer")
class ExpertGate(keras.layers.Layer):
    """Mixes the outputs of experts by the softmax of a linear map of what the gate reads.

    y = sum over experts e of  softmax(W x)_e expert_e

    Args:
        experts: int of at least 1, their number.

    Call it with `x`, features `(batch, dim)`, and `outputs`, a list of that many tensors `(batch, units)`; it returns
    `(batch, units)`.

    Raises:
        ValueError: if `experts` is no such int.

    Reference:
        Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018,
        equation 7.
    """

    def __init__(self, experts, **kwargs):
        super().__init__(**kwargs)
        self.experts = check_integer(experts, "experts")
        self.logits = keras.layers.Dense(experts, use_bias=False, dtype=self.dtype_policy, name="logits")

    def build(self, x_shape, outputs_shape=None):
        """Makes the weights of the linear map `(dim, experts)`."""
        self.logits.build(x_shape)

    def call(self, x, outputs):
        """Returns the mixture of the experts' outputs `(batch, units)`."""
        return ops.einsum("be,ebu->bu", ops.softmax(self.logits(x)), ops.stack(outputs))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "experts": self.experts}
