"""Soft sharing: a tower for each task, whose weights are pulled towards each other."""

import keras
from keras import ops

from keras_transfer.checks import check_weight
from keras_transfer.losses.weight_sharing import weight_spread
from keras_transfer.models.multitask.shared import MultiTaskModel, check_heads, check_names, check_parts


@keras.saving.register_keras_serializable(package="keras_transfer")
class SoftSharing(MultiTaskModel):
    """Learns each task with a network of its own, near those of the other tasks.

    total = sum over tasks of  weight_t loss_t  +  pull_weight * sum over weights of  pull(W_1, ..., W_T)

    Batches, labels that are missing and the logs are those of `SharedEncoder`; `pull_term` is logged beside them. A
    task is served by its tower alone. Gradients of different tasks meet no common weight: a weighting of gradients
    sees their lengths, and never a conflict.

    Args:
        towers: dict of the tasks' names to networks from an input to features `(batch, dim)`, with weights of the same
            shapes.
        heads: dict of the tasks' names to networks from features to predictions.
        pull: function from the towers' values of one weight, `(towers, size)`, to a scalar:
            `kt.losses.weight_spread` (L2) or `kt.losses.trace_norm`, or a registered function.
        pull_weight: float or schedule, the weight of `pull`.
        weighting: a `kt.weightings.Weighting`; None: all tasks count 1.
        missing: label that stands for none; see `SharedEncoder`.

    Raises:
        ValueError: if towers are not those of the heads, of different shapes or no networks, or a task is named `pull`.

    Example:

    ```python
    model = kt.models.SoftSharing({"left": encoder_1, "right": encoder_2}, heads, pull_weight=1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", dict.fromkeys(heads, loss), weighted_metrics=dict.fromkeys(heads, ["accuracy"]))
    model.fit(images, {"left": left, "right": right}, epochs=5)
    ```

    Reference:
        Duong et al., ACL 2015 (L2); Yang and Hospedales, Trace Norm Regularised Deep Multi-Task Learning, ICLR Workshop
        2017, arXiv:1606.04038.
    """

    def __init__(self, towers, heads, pull=weight_spread, pull_weight=1e-3, weighting=None, missing=None, **kwargs):
        pull_weight = check_weight(pull_weight, "pull_weight")
        check_heads(heads)
        check_names("a tower", towers, list(heads))
        check_parts(towers, "towers")
        if "pull" in heads:
            raise ValueError("Expected tasks of other names than `pull`, which is a term; received a head 'pull'.")
        super().__init__(heads, weighting, missing, {"pull": pull_weight}, **kwargs)
        self.towers, self.pull, self.pull_weight = dict(towers), pull, pull_weight

    @property
    def shared_variables(self):
        """The towers': each trains on its task, and what the others pull."""
        return [v for tower in self.towers.values() for v in tower.trainable_variables]

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read, each from its tower."""
        tasks = self.heads if tasks is None else tasks
        return {task: self.towers[task](x, training=training) for task in tasks}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns each task's loss, and the pull."""
        towers = [tower.trainable_variables for tower in self.towers.values()]
        shapes = [[tuple(v.shape) for v in tower] for tower in towers]
        if any(other != shapes[0] for other in shapes):
            raise ValueError(f"Expected towers with weights of the same shapes; received {shapes}.")
        stacks = [ops.stack([ops.reshape(v, (-1,)) for v in weights]) for weights in zip(*towers)]
        return {**super().loss_terms(x, y, outputs, sample_weight), "pull": sum(map(self.pull, stacks))}
