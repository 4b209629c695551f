"""Reptile: weights that lie near the solutions of all tasks, learned without gradients through the inner loop."""

import keras
from keras import ops

from keras_transfer.batches import check_shape
from keras_transfer.checks import check_integer, check_number
from keras_transfer.gradients import gradient
from keras_transfer.model import TransferModel
from keras_transfer.models.meta.shared import (
    TaskNetwork,
    adapted_copy,
    adapting_signatures,
    check_adaptable,
    check_episodes,
    check_streams,
    for_each_task,
    inner_steps,
)
from keras_transfer.networks import check_loss, keep_finite


@keras.saving.register_keras_serializable(package="keras_transfer")
class Reptile(TransferModel):
    """Learns weights that lie near the solutions of all tasks, so that a few examples of a new one lead there.

    w_i      = w after `steps` steps of Adam (beta_1 = 0) on mini-batches of support_i
    distance = mean over tasks of ||w - stop_gradient(w_i)||^2 / 2,   whose gradient at w is w - mean of w_i

    Compile with plain SGD whose rate is the paper's meta step, from 1 down to 0. More shots in training than in the
    test help. The queries of the training stream only show in the metrics; a single one for each class is enough.
    `adapt` and serving are as in `MAML`.

    Args:
        network: built network from an input to the prediction `(batch, outputs)`, one output for each way; without
            layers that draw random numbers.
        steps: int, steps of the inner loop.
        rate: float, the learning rate of the inner loop.
        batch_size: int, support rows in a step; mini-batch k of n holds the rows k, k + n, k + 2n ..., so that a
            support in the order of its classes gives some of each. Rows that do not fill one are left out.
        test_steps: int, steps outside of training, many; None: `steps`.
        statistics: as in `MAML`.

    Raises:
        ValueError: if the network is not built, has nothing to train or draws random numbers, or an argument is out of
            range.

    Example:

    ```python
    stream = kt.streams.episodes(images, labels, ways=5, shots=10, queries=1, episodes_per_batch=5)
    model = kt.models.Reptile(network)
    meta_step = keras.optimizers.schedules.PolynomialDecay(1.0, 20_000, end_learning_rate=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(meta_step), loss, metrics=["accuracy"])
    model.fit(stream, epochs=200)
    ```

    Adam's second moments go on from task to task and into the test, as in the authors' code. Departs: the tasks of one
    batch begin with the same moments and leave their mean.

    Reference:
        Nichol, Achiam and Schulman, On First-Order Meta-Learning Algorithms, 2018, arXiv:1803.02999.
    """

    streams = ("support", "query")

    def __init__(self, network, steps=5, rate=1e-3, batch_size=10, test_steps=50, statistics="support", **kwargs):
        super().__init__({"distance": 1.0}, **kwargs)
        check_adaptable(network, "network", {"steps": steps, "test_steps": test_steps}, statistics)
        self.network, self.steps, self.rate = network, steps, check_number(rate, "rate", above=0)
        self.batch_size = check_integer(batch_size, "batch_size")
        self.test_steps, self.statistics = test_steps, statistics
        self.autocast = False  # targets in the support keep their precision
        self.moments = [
            self.add_weight(shape=v.shape, initializer="zeros", trainable=False, aggregation="mean", name=f"moment_{i}")
            for i, v in enumerate(network.trainable_variables)
        ]

    def infer(self, x, training=False):
        """Returns the prediction of the network that has not adapted to a task."""
        return self.network(x, training=training)

    def forward(self, x, training=False):
        """Returns the prediction `(episodes, queries, outputs)` after adaptation and `distance` `(episodes,)`.

        In training also Adam's `moments`, `(episodes, ...)` for each weight.
        """
        check_streams(x)
        tasks = TaskNetwork(self.network, self.statistics)
        steps = inner_steps(self, training)

        def answer(task):
            support, labels, query = task
            weights, moments = self._adapt(tasks, support, labels, steps)
            distance = sum(ops.sum(ops.square(w - new)) for w, new in zip(tasks.weights, weights)) / 2.0
            return ops.stop_gradient(tasks.run_query(weights, query, support)), distance, moments

        prediction, distance, moments = for_each_task(answer, (*x["support"], x["query"]), self.network)
        outputs = {"prediction": prediction, "distance": distance}
        return {**outputs, "moments": moments} if training else outputs

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_episodes(self, x, y, self.network)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `distance`."""
        check_shape(y, outputs["prediction"], self.loss, "labels of the queries")
        return {"distance": ops.mean(outputs["distance"])}

    def advance(self, outputs):
        """Keeps the mean of the tasks' second moments; those of a weight stay where an overflow made it infinite."""
        for variable, values in zip(self.moments, outputs["moments"]):
            keep_finite(variable, ops.mean(values, axis=0))

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `adapt_and_classify` where `classes` or `outputs` say that it is that, else `adapt_and_predict`.

        It takes a support and queries, and is `serving_default` too; see `kt.export`.
        """
        return adapting_signatures(self, self.network, x, classes, prepare, outputs)

    def adapt(self, x, y, steps=None):
        """Adapts to one task.

        Args:
            x: support, an array `(rows, ...)`.
            y: its labels `(rows,)`, or targets.
            steps: int, steps of Adam; by default as many as in `evaluate`.

        Returns:
            A copy of the network with the weights of this task, an ordinary `keras.Model`. It answers each query by
            itself: BatchNormalization holds the support's statistics, unless `statistics` are the moving ones.
        """
        steps = inner_steps(self) if steps is None else steps
        x, y = keras.tree.map_structure(ops.convert_to_tensor, (x, y))
        tasks = TaskNetwork(self.network, self.statistics)
        weights, _ = self._adapt(tasks, x, y, steps)
        return adapted_copy(self.network, weights, tasks.served_state(weights, x))

    def _adapt(self, tasks, support, labels, steps, beta=0.999, epsilon=1e-8):
        check_loss(self.loss, self.network, "network")
        rows = ops.shape(labels)[0]  # an int, or a tensor where it is not known
        size = min(self.batch_size, rows) if isinstance(rows, int) else ops.minimum(self.batch_size, rows)
        number = rows // size

        def batches(array):  # (number, size, ...)
            return ops.swapaxes(ops.reshape(array[: number * size], (size, number, *array.shape[1:])), 0, 1)

        every = keras.tree.map_structure(batches, (support, labels))

        def step(k, state):
            weights, moments = state
            x, y = keras.tree.map_structure(lambda array: ops.take(array, k % number, axis=0), every)
            gradients = gradient(lambda w: self.task_loss(y, tasks.run_support(w, x)), weights)
            moments = [beta * m + (1.0 - beta) * ops.square(g) for m, g in zip(moments, gradients)]
            unbiased = 1.0 - beta ** ops.cast(self.step * self.steps + k + 1, "float32")
            weights = [
                w - self.rate * g / (ops.sqrt(m / unbiased) + epsilon) for w, m, g in zip(weights, moments, gradients)
            ]
            return weights, moments

        start = [ops.stop_gradient(w) for w in tasks.weights], [ops.cast(m.value, "float32") for m in self.moments]
        weights, moments = ops.fori_loop(0, steps, step, start)
        return [ops.stop_gradient(w) for w in weights], [ops.stop_gradient(m) for m in moments]
