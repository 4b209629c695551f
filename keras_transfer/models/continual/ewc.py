"""Elastic weight consolidation: weights that former tasks depend on are held where they were."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_number, check_weight
from keras_transfer.metrics.fisher import KINDS, fisher
from keras_transfer.models.continual.shared import ContinualModel, pull


@keras.saving.register_keras_serializable(package="keras_transfer")
class EWC(ContinualModel):
    """Learns tasks one after another, and holds each weight as strongly as former tasks' predictions depend on it.

    anchor = sum over former tasks t of  1/2 sum_i F_ti (w_i - w_ti)^2
    total  = task + anchor_weight * anchor

    F_t is the diagonal of the Fisher information at the end of task t, w_t the weights there. Of all tasks two numbers
    are kept for each weight, the sum of F_t and the mean of w_t weighted by it: the gradient is that of one penalty for
    each task, exactly. Fisher information is a mean over examples of squared gradients of each, see
    `kt.metrics.fisher`; the popular square of a batch's gradient is another, much smaller number.

    `consolidate` runs on TensorFlow.

    Args:
        encoder: built network from an input to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        anchor_weight: float or schedule, the weight of `anchor`: it depends on data and scenario, from 1 to 1e6.
        kind: the Fisher information: `"exact"`, `"sampled"` or `"empirical"`. Weights do not carry over among them.
        decay: float from 0 to 1, what is left of former tasks' information when a task ends; below 1 it is online EWC.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, a weight or
            the decay is out of range, `kind` is none of the three, or `tasks` are no lists of the head's classes.

    Example:

    ```python
    model = kt.models.EWC(encoder, head, anchor_weight=1e4)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(x, y, epochs=5)
        model.consolidate(x, y)
    model.save("after_march.keras")  # goes on in April, in another process
    ```

    Departs: with `decay` below 1 former anchors stay, each with what is left of its information; in the paper of online
    EWC (progress and compress) the last weights are the only anchor.

    Reference:
        Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 2017, arXiv:1612.00796; Huszár,
        Note on the Quadratic Penalties in Elastic Weight Consolidation, PNAS 2018, arXiv:1712.03847; Schwarz et al.,
        Progress & Compress, ICML 2018, arXiv:1805.06370.
    """

    def __init__(self, encoder, head, anchor_weight=1e3, kind="exact", decay=1.0, tasks=None, **kwargs):
        anchor_weight = check_weight(anchor_weight, "anchor_weight")
        super().__init__(encoder, head, {"task": 1.0, "anchor": anchor_weight}, tasks, **kwargs)
        self.anchor_weight, self.kind = anchor_weight, check_choice(kind, "kind", KINDS)
        self.decay = check_number(decay, "decay", least=0, most=1)
        self.information, self.anchors = self.weights_kept("information"), self.weights_kept("anchor")
        self.between = self._kept("between", (), "float32")  # what the anchors' distance from each other costs

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `anchor`."""
        anchor = pull(self.protected(), self.information, self.anchors) + self.between
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight), "anchor": anchor}

    def keep(self, x, y, classes):
        """Adds the task's information, and moves the anchors to the mean weighted by it."""
        found = fisher(self, x, y, self.kind, classes, seed=int(self.consolidated))
        fresh = {id(v): one for v, one in zip(self.trainable_variables, found, strict=True)}
        apart = self.decay * float(self.between)
        for v, total, anchor in zip(self.protected(), self.information, self.anchors):
            new, old, now = fresh.get(id(v), 0.0), self.decay * total, ops.cast(v, "float32")
            both = old + new
            apart += float(ops.sum(0.5 * old * new / ops.maximum(both, 1e-30) * ops.square(anchor - now)))
            anchor.assign(ops.where(both > 0, (old * anchor + new * now) / ops.maximum(both, 1e-30), now))
            total.assign(both)
        self.between.assign(apart)
