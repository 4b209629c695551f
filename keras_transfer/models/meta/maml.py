"""MAML: weights from which a few steps of gradient descent on a few examples lead to a good model of a new task."""

import keras
from keras import ops

from keras_transfer.checks import check_flag, check_number
from keras_transfer.model import TransferModel
from keras_transfer.models.meta.shared import (
    TaskNetwork,
    adapted_copy,
    adapting_signatures,
    check_adaptable,
    check_episodes,
    check_streams,
    descend,
    for_each_task,
    inner_steps,
    mean_loss,
)
from keras_transfer.networks import check_loss


@keras.saving.register_keras_serializable(package="keras_transfer")
class MAML(TransferModel):
    """Learns weights from which a few steps of gradient descent on the examples of a task solve that task.

    w_i  = w - rate * gradient of loss(support_i) at w,   again for each further step
    task = mean over tasks of loss(query_i) with the weights w_i

    Both losses are the compiled one, so that regression and any number of outputs work too. The gradient of `task` goes
    through the inner steps (second order). What is frozen in the network does not adapt.

    On plain inputs the model is the network with the weights w, before any adaptation; `adapt` returns an ordinary
    model of one task, and `kt.export` serves the adaptation itself.

    Args:
        network: built network from an input to the prediction `(batch, outputs)`, one output for each way; without
            layers that draw random numbers.
        steps: int, steps of the inner loop.
        rate: float, the learning rate of the inner loop; 0.4 in the paper for 5 ways with 1 step, 0.01 for regression.
        test_steps: int, steps outside of training, such as more; None: `steps`.
        first_order: bool, whether the gradients of the inner steps count as constants (FOMAML): faster, and less
            accurate.
        learn_rates: bool, whether each weight tensor has a rate of its own that is learned, beginning at `rate`.
        statistics: which statistics BatchNormalization normalises by. `"support"`: the support by its own, and the
            queries by those of the support (inductive). `"batch"`: support and queries by their own, as in the paper
            (transductive: an answer depends on the other queries, and such numbers are higher). `"moving"`: all by the
            moving averages, for a pretrained network. Those never move here.

    Raises:
        ValueError: if the network is not built, has nothing to train or draws random numbers; if `steps`, `test_steps`,
            `rate` or `statistics` is out of range.

    Example:

    ```python
    stream = kt.streams.episodes(images, labels, ways=5, shots=1, queries=5, episodes_per_batch=4)
    model = kt.models.MAML(network, rate=0.4, learn_rates=True)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(stream, epochs=100)
    classifier = model.adapt(five_images, five_labels)  # a plain Keras model
    ```

    Departs: learned rates are those of Meta-SGD with one for each weight tensor instead of one for each weight.

    Reference:
        Finn, Abbeel and Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017,
        arXiv:1703.03400. Li et al., Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017, arXiv:1707.09835.
    """

    streams = ("support", "query")

    def __init__(
        self,
        network,
        steps=1,
        rate=0.4,
        test_steps=None,
        first_order=False,
        learn_rates=False,
        statistics="support",
        **kwargs,
    ):
        super().__init__({"task": 1.0}, **kwargs)
        check_adaptable(network, "network", {"steps": steps, "test_steps": test_steps}, statistics)
        rate = check_number(rate, "rate", above=0)
        self.network, self.steps, self.rate, self.test_steps = network, steps, rate, test_steps
        self.first_order = check_flag(first_order, "first_order")
        self.learn_rates, self.statistics = check_flag(learn_rates, "learn_rates"), statistics
        self.autocast = False  # targets in the support keep their precision
        self.rates = self.add_weight(
            shape=(len(network.trainable_variables),),
            initializer=keras.initializers.Constant(rate),
            trainable=learn_rates,
            name="rates",
        )

    def infer(self, x, training=False):
        """Returns the prediction of the network that has not adapted to a task."""
        return self.network(x, training=training)

    def forward(self, x, training=False):
        """Returns the prediction `(episodes, queries, outputs)` after adaptation to each support."""
        check_streams(x)
        tasks = TaskNetwork(self.network, self.statistics)
        steps = inner_steps(self, training)

        def answer(task):
            support, labels, query = task
            return tasks.run_query(self._adapt(tasks, support, labels, steps, training), query, support)

        answers = for_each_task(answer, (*x["support"], x["query"]), self.network, stack=False)
        return {"prediction": ops.stack(answers) if isinstance(answers, list) else answers, "answers": answers}

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_episodes(self, x, y, self.network)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": mean_loss(self.task_loss, y, outputs["answers"], sample_weight)}

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
            steps: int, steps of gradient descent; by default as many as in `evaluate`.

        Returns:
            A copy of the network with the weights of this task, an ordinary `keras.Model`. It answers each query by
            itself: BatchNormalization holds the support's statistics, unless `statistics` are the moving ones.
        """
        steps = inner_steps(self) if steps is None else steps
        x, y = keras.tree.map_structure(ops.convert_to_tensor, (x, y))
        tasks = TaskNetwork(self.network, self.statistics)
        weights = self._adapt(tasks, x, y, steps)
        return adapted_copy(self.network, weights, tasks.served_state(weights, x))

    def _adapt(self, tasks, support, labels, steps, training=False):
        check_loss(self.loss, self.network, "network")

        def loss(weights):
            return self.task_loss(labels, tasks.run_support(weights, support))

        return descend(
            loss, tasks.weights, ops.unstack(ops.cast(self.rates.value, "float32")), steps, self.first_order, training
        )
