"""Memory aware synapses: weights are held by how much the outputs depend on them, without labels."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_weight
from keras_transfer.metrics.per_example import summed_powers
from keras_transfer.models.continual.shared import ContinualModel, pull


@keras.saving.register_keras_serializable(package="keras_transfer")
class MAS(ContinualModel):
    """Learns tasks one after another, and holds each weight as strongly as the size of the logits depends on it.

    importance = sum over former tasks of  mean over rows n of  |d ||f(x_n)||^2 / d w|,   f the logits
    anchor     = 1/2 sum_i importance_i (w_i - w_end_i)^2
    total      = task + anchor_weight * anchor

    w_end are the weights when the last task ended. `consolidate` looks at no labels, so that unlabelled rows of what
    shall not be forgotten would do. It runs on TensorFlow.

    Args:
        encoder: built network from an input to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        anchor_weight: float or schedule, the weight of `anchor`.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, a weight is
            negative or no number, or `tasks` are no lists of the head's classes.

    Example:

    ```python
    model = kt.models.MAS(encoder, head, anchor_weight=1.0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(x, y, epochs=5)
        model.consolidate(x, y)
    ```

    Reference:
        Aljundi et al., Memory Aware Synapses: Learning what (not) to forget, ECCV 2018, arXiv:1711.09601.
    """

    def __init__(self, encoder, head, anchor_weight=1.0, tasks=None, **kwargs):
        anchor_weight = check_weight(anchor_weight, "anchor_weight")
        super().__init__(encoder, head, {"task": 1.0, "anchor": anchor_weight}, tasks, **kwargs)
        self.anchor_weight = anchor_weight
        self.importance, self.anchors = self.weights_kept("importance"), self.weights_kept("anchor")

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `anchor`."""
        anchor = pull(self.protected(), self.importance, self.anchors)
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight), "anchor": anchor}

    def keep(self, x, y, classes):
        """Adds what the task's logits depend on, and moves the anchors to where the weights are."""

        def size(logits, labels, number):
            squares = ops.sum(ops.square(ops.take(ops.cast(logits, "float32"), classes, axis=-1)), axis=-1)
            return [squares], [ops.ones_like(squares)]

        totals, rows = summed_powers(self, x, size, power=1)
        fresh = {id(v): total / np.float32(rows) for v, total in zip(self.trainable_variables, totals, strict=True)}
        for v, importance, anchor in zip(self.protected(), self.importance, self.anchors):
            importance.assign_add(ops.broadcast_to(fresh.get(id(v), 0.0), v.shape))
            anchor.assign(ops.cast(v, "float32"))
