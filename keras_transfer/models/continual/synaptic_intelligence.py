"""Synaptic intelligence: weights are held by how much their way has lowered the loss of former tasks."""

import keras
from keras import ops

from keras_transfer.checks import check_number, check_weight
from keras_transfer.models.continual.shared import ContinualModel, pull


@keras.saving.register_keras_serializable(package="keras_transfer")
class SynapticIntelligence(ContinualModel):
    """Learns tasks one after another, and measures while it trains what each weight contributed to each.

    gained     = - sum over steps of  g (w_after - w_before),   g the gradient of the task's loss alone
    importance = sum over former tasks of  max(gained, 0) / ((w_end - w_start)^2 + damping)
    anchor     = 1/2 sum_i importance_i (w_i - w_end_i)^2
    total      = task + anchor_weight * anchor

    The move of a step is known one step later, whatever optimizer made it: it is settled then, and in `consolidate`,
    which needs no further pass over the data. TensorFlow.

    Args:
        encoder: built network from an input to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        anchor_weight: float or schedule, the weight of `anchor`; the paper's c is half of it.
        damping: positive float, for weights that hardly moved.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, a weight or
            the damping is out of range, or `tasks` are no lists of the head's classes.

    Example:

    ```python
    model = kt.models.SynapticIntelligence(encoder, head, anchor_weight=1.0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(x, y, epochs=5)
        model.consolidate(x, y)
    ```

    Reference:
        Zenke, Poole and Ganguli, Continual Learning through Synaptic Intelligence, ICML 2017, arXiv:1703.04200.
    """

    def __init__(self, encoder, head, anchor_weight=1.0, damping=0.1, tasks=None, **kwargs):
        anchor_weight = check_weight(anchor_weight, "anchor_weight")
        super().__init__(encoder, head, {"task": 1.0, "anchor": anchor_weight}, tasks, **kwargs)
        self.anchor_weight, self.damping = anchor_weight, check_number(damping, "damping", above=0)
        self.importance, self.anchors = self.weights_kept("importance"), self.weights_kept("anchor")
        self.gained, self.slopes = self.weights_kept("gained"), self.weights_kept("slope")
        for v, anchor in zip(self.protected(), self.anchors):
            anchor.assign(v)

    @property
    def shared_variables(self):
        """Those of both networks that train now."""
        return [v for v in self.protected() if v.trainable]

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `anchor`."""
        anchor = pull(self.protected(), self.importance, self.anchors)
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight), "anchor": anchor}

    def combine(self, gradients):
        """Settles the step before, remembers this one's gradient, and returns the plain sum."""
        places = [i for i, v in enumerate(self.protected()) if v.trainable]
        overflows = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        for i, slope in zip(places, gradients["task"]):
            self._settle(i, ops.where(ops.isfinite(slope), slope, 0.0) if overflows else slope)
        return [task + anchor for task, anchor in zip(gradients["task"], gradients["anchor"])]

    def keep(self, x, y, classes):
        """Settles the last step, turns what was gained into importance, and begins anew."""
        for i, v in enumerate(self.protected()):
            self._settle(i, ops.zeros(v.shape))
            now = ops.cast(v, "float32")
            moved = ops.square(now - self.anchors[i]) + self.damping
            self.importance[i].assign_add(ops.maximum(ops.convert_to_tensor(self.gained[i]), 0.0) / moved)
            self.anchors[i].assign(now)
            self.gained[i].assign(ops.zeros_like(now))

    def _settle(self, i, slope):
        """Adds what the step before ends with and what this one begins with: sum_t g_t (w_t+1 - w_t), by parts."""
        away = ops.cast(self.protected()[i], "float32") - self.anchors[i]
        self.gained[i].assign_add((slope - self.slopes[i]) * away)
        self.slopes[i].assign(slope)
