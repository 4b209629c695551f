"""The inner loop of meta-learning: a copy of a network's weights for each task, adapted by gradient descent."""

import keras
from keras import layers, ops

from keras_transfer.networks import check_network, copy_network

_BATCH_NORM = ("support", "batch", "frozen")
_UNROLLED = 32  # tasks; a graph loop beyond
_UNROLLED_STEPS = 5  # as many, of an inner loop that need not be differentiated
_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)


class TaskNetwork:
    """A network whose weights are values: it can be run with the weights of any task, and differentiated by them.

    Args:
        network: built network, whose trainable weights adapt.
        batch_norm: how BatchNormalization normalises. `"support"`: the support by its own statistics, and the queries
            by those of the support (inductive). `"batch"`: support and queries by their own (transductive: an answer
            depends on the other queries). `"frozen"`: all by the moving averages. Those never move here.
    """

    def __init__(self, network, batch_norm="support"):
        self.network, self.batch_norm = network, batch_norm
        self.weights = [_value(v) for v in network.trainable_variables]
        self.state = [_value(v) for v in network.non_trainable_variables]
        moving = [layer for layer in _leaves(network, layers.BatchNormalization) if layer.trainable]
        rates = {id(v): 1.0 - n.momentum for n in moving for v in (n.moving_mean, n.moving_variance)}
        self._moving_rates = [rates.get(id(v)) for v in network.non_trainable_variables]

    def run_support(self, weights, x):
        """Returns the network's output for the support."""
        return self._run(weights, self.state, x, self.batch_norm != "frozen")[0]

    def run_query(self, weights, query, support):
        """Returns the network's output for the queries."""
        if self.batch_norm == "batch":
            return self._run(weights, self.state, query, True)[0]
        return self._run(weights, self.served_state(weights, support), query, False)[0]

    def served_state(self, weights, support):
        """Returns the values of the non-trainable variables with which one query alone is answered."""
        if self.batch_norm == "frozen" or not any(self._moving_rates):
            return self.state
        # From zero, moving averages become the support's statistics times the rate at which they move.
        blank = [ops.zeros_like(v) if rate else v for v, rate in zip(self.state, self._moving_rates)]
        moved = self._run(weights, blank, support, True)[1]
        return [new / rate if rate else old for new, old, rate in zip(moved, self.state, self._moving_rates)]

    def _run(self, weights, state, x, training):
        return self.network.stateless_call(weights, state, x, training=training)


def descend(loss, weights, rates, steps, first_order=False, differentiable=True):
    """Returns weights after steps of gradient descent.

    Args:
        loss: function of a list of tensors that returns a scalar.
        weights: list of tensors.
        rates: list of as many learning rates, floats or scalar tensors.
        steps: int.
        first_order: bool, whether the gradients of the inner steps count as constants.
        differentiable: bool, whether the result shall be differentiable by the weights at the start; otherwise many
            steps are a loop in the graph, which is smaller.

    Returns:
        List of tensors.
    """

    def step(_, weights):
        gradients = gradient(loss, weights)
        if first_order:
            gradients = [ops.stop_gradient(g) for g in gradients]
        return [w - rate * g for w, rate, g in zip(weights, rates, gradients)]

    if not differentiable and steps > _UNROLLED_STEPS:
        return ops.fori_loop(0, steps, step, weights)
    for number in range(steps):
        weights = step(number, weights)
    return weights


def inner_steps(model, training=False):
    """Returns the number of inner steps of a method with `steps` and `test_steps`, in training or outside of it."""
    return model.steps if training or model.test_steps is None else model.test_steps


def gradient(function, weights):
    """Returns the gradient of a scalar function of a list of tensors, which can be differentiated again."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(weights)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = function(weights)
    gradients = tape.gradient(value, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in gradients]


def for_each_task(function, tasks, network, stack=True):
    """Applies a function to each task of a batch, in the graph, and stacks the results.

    Args:
        function: function of one task that runs `network` with weights of its own.
        tasks: nested structure of tensors `(tasks, ...)`.
        network: the network; it decides what is fastest. Matrix products with different weights are batched;
            convolutions are not, and their tasks stand side by side in the graph, or in a loop where their number is
            large or not known.
        stack: bool, whether tasks that stand side by side are stacked too: what follows then waits for all of them.

    Returns:
        The structure that `function` returns, of tensors `(tasks, ...)`; or a list of such structures, one for each
        task, where tasks stand side by side and are not to be stacked.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.vmap(function)(tasks)
    if not _leaves(network, _CONVOLUTIONS):
        import tensorflow as tf

        return tf.vectorized_map(function, tasks)
    number = keras.tree.flatten(tasks)[0].shape[0]
    if number is None or number > _UNROLLED:
        return ops.map(function, tasks)
    results = [function(keras.tree.map_structure(lambda rows, i=i: rows[i], tasks)) for i in range(number)]
    return keras.tree.map_structure(lambda *rows: ops.stack(rows), *results) if stack else results


def check_adaptable(network, name, steps, batch_norm="support"):
    """Raises an error for arguments that an inner loop cannot work with.

    Args:
        network: network, whose weights shall adapt.
        name: name of the argument.
        steps: dict of names of arguments to numbers of inner steps; None means another's value.
        batch_norm: see `TaskNetwork`.

    Raises:
        ValueError: if the network is not built, has nothing to train or draws random numbers, or an argument is out of
            range.
        TypeError: if it is a network that Keras 3 does not train.
    """
    check_network(network, name)
    if not network.built or not network.trainable_variables:
        found = "trainable weights" if network.built else "input shape: begin it with `keras.Input`"
        raise ValueError(
            f"Expected `{name}` to be a built network that trains; received {network.name!r} without {found}."
        )
    weights = {id(v) for v in network.weights}
    if any(id(v) not in weights for v in network.non_trainable_variables):
        raise ValueError(
            f"Expected `{name}` without layers that draw random numbers, such as Dropout, since all tasks and steps "
            f"would see the same draw; received {network.name!r} with some."
        )
    for argument, number in steps.items():
        if number is not None and not (isinstance(number, int) and number >= 0):
            raise ValueError(f"Expected `{argument}` to be an int of at least 0; received {number!r}.")
    if batch_norm not in _BATCH_NORM:
        raise ValueError(f"Expected `batch_norm` to be one of {_BATCH_NORM}; received {batch_norm!r}.")


def adapted_copy(network, weights, state):
    """Returns a copy of a network that holds these values of its trainable and its other variables."""
    copy = copy_network(network)
    for variables, values in ((copy.trainable_variables, weights), (copy.non_trainable_variables, state)):
        for variable, value in zip(variables, values):
            variable.assign(value)
    return copy


def _value(variable):
    """The value of a variable; in single precision where layers compute in half, as an inner step is small."""
    floats = keras.backend.is_float_dtype(variable.dtype)
    dtype = keras.backend.result_type(variable.dtype, "float32") if floats else variable.dtype
    return ops.copy(ops.cast(variable.value, dtype))


def _leaves(network, kinds):
    """The layers of these kinds anywhere in a network."""
    return [layer for layer in network._flatten_layers() if isinstance(layer, kinds)]
