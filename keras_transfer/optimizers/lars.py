"""LARS: SGD with a rate for each layer that follows the size of its weights."""

import keras
from keras import ops

from keras_transfer.checks import check_number, check_weight
from keras_transfer.keras_internals import variable_index


@keras.saving.register_keras_serializable(package="keras_transfer")
class LARS(keras.optimizers.Optimizer):
    """Takes, by SGD with momentum, steps in proportion to each tensor's own norm; for large batches.

    g = gradient + weight_decay * w
    m = momentum * m + learning_rate * trust * ||w|| / ||g|| * g,   w = w - m

    Tensors of one axis, which are biases and the scales and offsets of normalisation, get neither the factor nor the
    weight decay.

    Args:
        learning_rate: float or schedule; 0.2 times batch size / 256 with a warm-up in the authors' codes.
        momentum: float, at least 0 and below 1.
        weight_decay: float of at least 0, 1e-6 in SimCLR, 1.5e-6 in Barlow Twins and BYOL.
        trust: positive float, 0.001 in the papers.
        **kwargs: `name`, `clipnorm` and the other arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: if an argument is no such number.

    Example:

    ```python
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=1.6, warmup_steps=steps // 10)
    model.compile(kt.optimizers.LARS(schedule))
    ```

    Reference:
        You, Gitman and Ginsburg, Large Batch Training of Convolutional Networks, 2017, arXiv:1708.03888.
    """

    def __init__(self, learning_rate=0.2, momentum=0.9, weight_decay=1e-6, trust=1e-3, name="lars", **kwargs):
        if isinstance(learning_rate, type) or not callable(learning_rate):
            check_weight(learning_rate, "learning_rate")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)  # the decay is ours, inside the factor
        self.momentum = check_number(momentum, "momentum", least=0, below=1)
        self.decay = check_number(weight_decay, "weight_decay", least=0)
        self.trust = check_number(trust, "trust", above=0)

    def build(self, variables):
        """Makes a momentum for each variable."""
        if self.built:
            return
        super().build(variables)
        self.momenta = [self.add_variable_from_reference(v, name="momentum") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable, and its momentum, along its gradient."""
        momentum = self.momenta[variable_index(self, variable)]
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        if len(variable.shape) > 1:
            gradient = gradient + self.decay * variable
            sizes = ops.norm(ops.reshape(variable, (-1,))), ops.norm(ops.reshape(gradient, (-1,)))
            known = ops.logical_and(sizes[0] > 0, sizes[1] > 0)
            factor = ops.where(known, self.trust * sizes[0] / ops.where(known, sizes[1], 1.0), 1.0)
            gradient = factor * gradient
        self.assign(momentum, self.momentum * momentum + rate * gradient)
        self.assign_sub(variable, momentum)

    def get_config(self):
        """Returns the constructor's arguments."""
        own = {"momentum": self.momentum, "weight_decay": self.decay, "trust": self.trust}
        return {**super().get_config(), **own}
