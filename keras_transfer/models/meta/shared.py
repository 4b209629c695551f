"""What few-shot methods share: episodes, the inner loop, weights for each task, and what of them is served."""

import keras
import numpy as np
from keras import layers, ops

from keras_transfer.batches import check_inputs, check_labels
from keras_transfer.checks import check_choice, check_integer, check_rows, same_shape
from keras_transfer.gradients import gradient
from keras_transfer.keras_internals import all_layers, reads_class_numbers
from keras_transfer.model import stated_outputs
from keras_transfer.networks import check_features, check_networks, copy_network, number_of_outputs, run_pair
from keras_transfer.signatures import (
    Signature,
    embedded,
    named,
    own_prediction,
    plain_array,
    predicted,
)

_STATISTICS = ("support", "batch", "moving")
_UNROLLED = 32  # tasks; a graph loop beyond
_EARLIER_CLASSES = 4096  # which the labels of a request may count beyond its own rows
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


def encode_episode(encoder, x, training=False, by_rows=False):
    """Runs an encoder once over all rows of a batch of episodes.

    Args:
        encoder: network from an input to features `(rows, dim)`.
        x: the streams of `kt.streams.episodes`: `{"support": (x, labels), "query": x}`.
        training: whether this is a training step.
        by_rows: bool, whether each row of the support has one label, rather than several targets.

    Returns:
        Features of the support `(episodes, rows, dim)`, its labels `(episodes, rows)`, and features of the queries
        `(episodes, queries, dim)`.
    """
    check_streams(x, by_rows)
    (support, labels), query = x["support"], x["query"]

    def flat(rows):
        return ops.reshape(rows, (-1, *rows.shape[2:]))

    def by_episode(features, rows):
        episodes, size = ops.shape(keras.tree.flatten(rows)[0])[:2]
        return ops.reshape(check_features(features, encoder), (episodes, size, features.shape[-1]))

    encoded = run_pair(encoder, *(keras.tree.map_structure(flat, rows) for rows in (support, query)), training=training)
    return by_episode(encoded[0], support), labels, by_episode(encoded[1], query)


def check_episodes(model, x, y, network=None):
    """Checks arrays of episodes that `fit` and the like are called with, or plain inputs; datasets pass.

    Args:
        model: the method.
        x: the streams, or rows.
        y: labels of the queries.
        network: the network whose outputs are the classes; None: there are at most as many as rows in a support.

    Raises:
        ValueError: if numbers are not finite, or labels no numbers or none of classes that there can be.
    """
    whole, classes = reads_class_numbers(model.loss), number_of_outputs(network)
    if isinstance(x, dict) and set(x) == set(model.streams):
        support, labels = x["support"]
        x = {"support": support, "query": x["query"]}
        if network is None:
            whole, classes = True, labels.shape[-1]
        check_labels(labels, "labels of the support", whole, classes)
    check_labels(y, "labels of the queries", whole, classes)
    check_inputs(x, model.layers)


def check_streams(x, by_rows=False):
    """Raises an error unless the support has labels for its rows, and queries are rows of the same shape.

    Args:
        x: the streams of `kt.streams.episodes`.
        by_rows: bool, whether each row of the support has one label; otherwise it may have several targets.

    Raises:
        ValueError: if shapes are others.
    """
    (support, labels), query = x["support"], x["query"]
    check_rows(support, query, ("support", "query"), axes=2)
    found, rows = tuple(labels.shape), tuple(keras.tree.flatten(support)[0].shape[:2])
    if not same_shape(found if by_rows else found[:2], rows):
        raise ValueError(
            f"Expected labels of the support for each of its rows, (episodes, rows) = {rows}; received labels of shape "
            f"{found}."
        )


class TaskNetwork:
    """A network whose weights are values: it can be run with the weights of any task, and differentiated by them.

    Args:
        network: built network, whose trainable weights adapt.
        statistics: which statistics BatchNormalization normalises by. `"support"`: the support by its own, and the
            queries by those of the support (inductive). `"batch"`: support and queries by their own (transductive: an
            answer depends on the other queries). `"moving"`: all by the moving averages. Those never move here.
    """

    def __init__(self, network, statistics="support"):
        self.network, self.statistics = network, statistics
        self.weights = [_value(v) for v in network.trainable_variables]
        self.state = [_value(v) for v in network.non_trainable_variables]
        moving = [layer for layer in _leaves(network, layers.BatchNormalization) if layer.trainable]
        rates = {id(v): 1.0 - n.momentum for n in moving for v in (n.moving_mean, n.moving_variance)}
        self._moving_rates = [rates.get(id(v)) for v in network.non_trainable_variables]

    def run_support(self, weights, x):
        """Returns the network's output for the support."""
        return self._run(weights, self.state, x, self.statistics != "moving")[0]

    def run_query(self, weights, query, support):
        """Returns the network's output for the queries."""
        if self.statistics == "batch":
            return self._run(weights, self.state, query, True)[0]
        return self._run(weights, self.served_state(weights, support), query, False)[0]

    def served_state(self, weights, support):
        """Returns the values of the non-trainable variables with which one query alone is answered."""
        if self.statistics == "moving" or not any(self._moving_rates):
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


def mean_loss(loss, y, answers, sample_weight=None):
    """Returns the mean of a loss over tasks.

    Args:
        loss: function of labels, predictions and sample weights.
        y: labels `(tasks, queries, ...)`.
        answers: predictions `(tasks, queries, ...)`, or a list of those of each task from `for_each_task`. Then each
            has a loss of its own: one loss of all would keep every task's way back waiting for every task's way there.
        sample_weight: tensor `(tasks, queries)`, or None.
    """
    if not isinstance(answers, list):
        return loss(y, answers, sample_weight)
    if y.shape[0] != len(answers):
        raise ValueError(f"Expected labels of the queries of {len(answers)} episodes; received {y.shape[0]}.")
    weights = [None] * len(answers) if sample_weight is None else ops.unstack(sample_weight)
    return sum(loss(*task) for task in zip(ops.unstack(y), answers, weights)) / len(answers)


def check_adaptable(network, name, steps, statistics="support"):
    """Raises an error for arguments that an inner loop cannot work with.

    Args:
        network: network, whose weights shall adapt.
        name: name of the argument.
        steps: dict of names of arguments to numbers of inner steps; None means another's value.
        statistics: see `TaskNetwork`.

    Raises:
        ValueError: if it is no network, is not built, has nothing to train or draws random numbers, or an
            argument is out of range.
        TypeError: if it is a network that Keras 3 does not train.
    """
    check_networks(**{name: network})
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
        if number is not None:
            check_integer(number, argument, least=0)
    check_choice(statistics, "statistics", _STATISTICS)


def adapted_copy(network, weights, state):
    """Returns a copy of a network that holds these values of its trainable and its other variables."""
    copy = copy_network(network)
    for variables, values in ((copy.trainable_variables, weights), (copy.non_trainable_variables, state)):
        for variable, value in zip(variables, values):
            variable.assign(value)
    return copy


# What is served.


def episode_of(x):
    """Returns the support, its labels and the queries that make a request.

    Args:
        x: an episode `{"support": (rows, labels), "query": rows}` without a leading axis, labels of a float dtype for a
            regression; or rows `(rows, ...)`, of which the first 16 make a request: the last of them is the query, the
            others are a support of two classes.

    Raises:
        ValueError: if there are fewer than 2 rows.
    """
    if isinstance(x, dict) and set(x) == {"support", "query"}:
        support, labels, query = map(plain_array, (*x["support"], x["query"]))
        return support, labels.astype("float32" if labels.dtype.kind == "f" else "int32"), query
    rows = plain_array(x)[:16]  # a request, not a data set
    if len(rows) < 2:
        raise ValueError(f"Expected at least 2 rows in `x`, a support and a query; received {len(rows)}.")
    return rows[:-1], np.arange(len(rows) - 1, dtype="int32") % 2, rows[-1:]


def embedding_signatures(model, x, prepare, input_name):
    """Returns `serving_default` and `embed`, which serve features of rows `(batch, ...)`."""
    prepare, rows = prepare or as_it_is, x["support"][0] if isinstance(x, dict) else x

    def answer(inputs):
        return embedded(model.infer(prepare(inputs[input_name])))

    def expected(inputs):
        return embedded(own_prediction(model, prepare(inputs[input_name])))

    embed = Signature(answer, named(rows, input_name), expected=expected)
    return {"serving_default": embed, "embed": embed}


def check_no_classes(model, classes, outputs):
    """Raises an error where classes are named in advance of a method whose classes come with each request."""
    if classes is not None or outputs is not None:
        given = "classes" if outputs is None else "outputs"
        raise ValueError(
            f"Expected no `{given}` for {type(model).__name__}, which always answers logits of the classes that come "
            f"with each request; received {classes if outputs is None else outputs!r}."
        )


def episode_prediction(model, prepare, inputs, told="labels"):
    """Returns what the model's own `predict` says of an episode without a leading axis, `(queries, ...)`."""
    support, query = (prepare(inputs[name]) for name in ("support", "query"))
    episode = keras.tree.map_structure(lambda part: part[None], {"support": (support, inputs[told]), "query": query})
    return own_prediction(model, episode)["prediction"][0]


def adapting_signatures(model, network, x, classes, prepare, outputs):
    """Returns the signatures of a method that adapts its weights to a support, by steps that are part of the graph.

    Where `classes` or `outputs` say that it is a classification, `adapt_and_classify`, which is `serving_default` too:
    `support` (rows, ...), `labels` (rows,) int32, below the number of the network's outputs, and `query` (queries, ...)
    to what `kt.signatures.classified` returns. Otherwise `adapt_and_predict`: `support`, `labels`, or `targets` (rows,
    outputs) where the episode has those of a float dtype, and `query` to `prediction`. The method has to be compiled
    with its loss. `network` is what makes the prediction.
    """
    prepare = prepare or as_it_is
    support, labels, query = episode_of(x)
    told = "targets" if labels.dtype.kind == "f" else "labels"
    stated = stated_outputs(network, "head", classes, outputs)

    def prediction(inputs, answers):
        rows, queries = (prepare(inputs[name]) for name in ("support", "query"))
        episode = {"support": (rows[None], answers[None]), "query": queries[None]}
        return model(episode, training=False)["prediction"][0]

    def adapt(inputs):
        labels = rows_alike(inputs["support"], inputs[told], told)
        if stated is not None and told == "labels":
            outputs = model.infer(prepare(inputs["query"])).shape[-1]  # known while tracing; nothing runs
            labels, _ = checked_labels(inputs["support"], labels, 2 if outputs == 1 else outputs)
        return predicted(prediction(inputs, labels), classes, stated)

    def expected(inputs):
        return predicted(episode_prediction(model, prepare, inputs, told), classes, stated)

    name = "adapt_and_predict" if stated is None else "adapt_and_classify"
    request = {"support": support, told: labels, "query": query}
    signature = Signature(adapt, request, rowwise=False, expected=expected)
    return {"serving_default": signature, name: signature}


def rows_alike(support, told, name="labels"):
    """Returns labels or targets after a check, in the graph, that there is one for each of at least 1 row."""
    import tensorflow as tf

    rows = tf.shape(support)[0]
    return after(
        [
            tf.debugging.assert_positive(rows, "Expected a support of at least 1 row."),
            tf.debugging.assert_equal(tf.shape(told)[0], rows, f"Expected one {name[:-1]} for each row of `support`."),
        ],
        told,
    )


def checked_labels(support, labels, classes=None):
    """Returns the labels and the number of classes, of an episode that is not empty and whose labels fit.

    What is computed from either is computed after these checks: one integer must not decide how much memory it takes.

    Args:
        support: tensor `(rows, ...)`.
        labels: integer tensor `(rows,)`.
        classes: int, the number of classes that there may be; None: as many as rows, and 4,096 that came before.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, where the labels do not fit.
    """
    import tensorflow as tf

    labels = rows_alike(support, labels)
    most = tf.shape(support)[0] + _EARLIER_CLASSES if classes is None else classes
    told = "the number of rows and 4,096" if classes is None else f"{classes}, the number of the network's outputs"
    labels = after(
        [
            tf.debugging.assert_non_negative(labels, "Expected `labels` of at least 0."),
            tf.debugging.assert_less(labels, tf.cast(most, labels.dtype), f"Expected `labels` below {told}."),
        ],
        labels,
    )
    return labels, tf.reduce_max(labels) + 1


def every_label(labels):
    """Returns the labels and the number of classes after a check, in the graph, that each of the classes is there."""
    import tensorflow as tf

    message = "Expected `labels` from 0 to classes - 1, each at least once."
    number = tf.reduce_max(labels) + 1
    labels = after([tf.debugging.assert_equal(tf.size(tf.unique(labels).y), number, message)], labels)
    return labels, tf.reduce_max(labels) + 1


def after(checks, value):
    """Returns a value that is there after the checks alone; eager ones have been made."""
    import tensorflow as tf

    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(value)


def as_it_is(x):
    """Returns x."""
    return x


def _value(variable):
    """The value of a variable; in single precision where layers compute in half, as an inner step is small."""
    floats = keras.backend.is_float_dtype(variable.dtype)
    dtype = keras.backend.result_type(variable.dtype, "float32") if floats else variable.dtype
    return ops.copy(ops.cast(variable.value, dtype))


def _leaves(network, kinds):
    """The layers of these kinds anywhere in a network."""
    return [layer for layer in all_layers(network) if isinstance(layer, kinds)]
