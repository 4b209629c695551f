"""ANIL: features for all tasks, and a head that adapts to each by a few steps of gradient descent."""

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
    descend,
    encode_episode,
    for_each_task,
    inner_steps,
)
from keras_transfer.networks import check_features, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class ANIL(TransferModel):
    """Learns features, and a head from which a few steps of gradient descent on the examples of a task solve that task.

    f    = encoder(x)
    h_i  = h - rate * gradient of loss(head(f(support_i))) at the head's weights h,   again for each further step
    task = mean over tasks of loss(query_i) with the head h_i

    MAML without its inner loop where it hardly moves: as accurate in the paper's tables and many times faster, since
    each image passes the encoder once. BatchNormalization in the encoder uses the statistics of all images of the batch
    while training, and its moving averages afterwards: the answer to a query does not depend on the other queries
    (inductive).

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: built network from features to the prediction `(batch, outputs)`, one output for each way; without layers
            that draw random numbers.
        steps: int, steps of the inner loop.
        rate: float, the learning rate of the inner loop.
        test_steps: int, steps outside of training; None: `steps`.
        first_order: bool, whether the gradients of the inner steps count as constants.

    Raises:
        ValueError: if the head is not built, has nothing to train or draws random numbers, or an argument is out of
            range.

    Example:

    ```python
    head = keras.Sequential([keras.Input((256,)), keras.layers.Dense(5)])
    model = kt.models.ANIL(encoder, head, steps=5, rate=0.1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.episodes(images, labels, ways=5, shots=1, episodes_per_batch=8), epochs=50)
    classifier = model.adapt(five_images, five_labels)  # a plain Keras model
    ```

    Departs: the paper normalises queries by their own statistics.

    Reference:
        Raghu, Raghu, Bengio and Vinyals, Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
        MAML, ICLR 2020, arXiv:1909.09157.
    """

    streams = ("support", "query")

    def __init__(self, encoder, head, steps=5, rate=0.1, test_steps=None, first_order=False, **kwargs):
        super().__init__({"task": 1.0}, **kwargs)
        check_networks(encoder=encoder)
        check_adaptable(head, "head", {"steps": steps, "test_steps": test_steps})
        self.encoder, self.head, self.steps = encoder, head, steps
        self.rate = check_number(rate, "rate", above=0)
        self.test_steps, self.first_order = test_steps, check_flag(first_order, "first_order")
        self.autocast = False  # targets in the support keep their precision

    def forward(self, x, training=False):
        """Returns the prediction `(episodes, queries, outputs)` after adaptation to each support."""
        episode = encode_episode(self.encoder, x, training)
        tasks = TaskNetwork(self.head)
        steps = inner_steps(self, training)

        def answer(task):
            support, labels, query = task
            return tasks.run_query(self._adapt(tasks, support, labels, steps, training), query, support)

        return {"prediction": for_each_task(answer, episode, self.head)}

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_episodes(self, x, y, self.head)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight)}

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `adapt_and_classify` where `classes` or `outputs` say that it is that, else `adapt_and_predict`.

        It takes a support and queries, and is `serving_default` too; see `kt.export`.
        """
        return adapting_signatures(self, self.head, x, classes, prepare, outputs)

    def adapt(self, x, y, steps=None):
        """Adapts to one task.

        Args:
            x: support, an array `(rows, ...)`.
            y: its labels `(rows,)`, or targets.
            steps: int, steps of gradient descent; by default as many as in `evaluate`.

        Returns:
            The encoder, shared, with a copy of the head that has the weights of this task: an ordinary `keras.Model`.
        """
        steps = inner_steps(self) if steps is None else steps
        features, tasks = check_features(self.encoder(x), self.encoder), TaskNetwork(self.head)
        weights = self._adapt(tasks, features, ops.convert_to_tensor(y), steps)
        return keras.Sequential([self.encoder, adapted_copy(self.head, weights, tasks.served_state(weights, features))])

    def _adapt(self, tasks, support, labels, steps, training=False):
        def loss(weights):
            return self.task_loss(labels, tasks.run_support(weights, support))

        return descend(loss, tasks.weights, [self.rate] * len(tasks.weights), steps, self.first_order, training)
