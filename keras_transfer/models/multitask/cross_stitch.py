"""Cross-stitch networks: a tower for each task, whose activations are mixed between stages."""

import keras
from keras import ops

from keras_transfer.layers.cross_stitch_unit import CrossStitchUnit
from keras_transfer.models.multitask.shared import MultiTaskModel, check_heads, check_names, check_parts


@keras.saving.register_keras_serializable(package="keras_transfer")
class CrossStitch(MultiTaskModel):
    """Learns how much of each stage tasks share: towers of stages, and a learned mixture between each and the next.

    x_i after a stage = sum over tasks j of  a_ij stage_j(x_j),   a near the identity at the start, for each channel

    Batches, labels that are missing and the logs are those of `SharedEncoder`. The last stage of a tower and its head
    belong to the task alone; a task is served by all stages but the last of the other towers.

    Args:
        towers: dict of the tasks' names to lists of at least 2 networks, the stages; those of different tasks have
            outputs of one shape, all but the last, which gives features `(batch, dim)`.
        heads: dict of the tasks' names to networks from features to predictions.
        own: float, what a tower's own activations count at the start.
        weighting: a `kt.weightings.Weighting`; None: all tasks count 1.
        missing: label that stands for none; see `SharedEncoder`.

    Raises:
        ValueError: if towers are not those of the heads or no lists of networks, or have fewer than 2 stages or not the
            same number.

    Example:

    ```python
    model = kt.models.CrossStitch({"left": [conv_1, conv_2, dense], "right": [conv_3, conv_4, dense_2]}, heads)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", dict.fromkeys(heads, loss), weighted_metrics=dict.fromkeys(heads, ["accuracy"]))
    model.fit(images, {"left": left, "right": right}, epochs=5)
    ```

    Departs: all weights train from the start at one rate; the paper trains a network for each task first, and the
    mixtures at a rate 100 to 1,000 times higher.

    Reference:
        Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016, arXiv:1604.03539.
    """

    def __init__(self, towers, heads, own=0.9, weighting=None, missing=None, **kwargs):
        check_heads(heads)
        check_names("a tower", towers, list(heads))
        check_parts(towers, "towers", depth=2)
        depths = {task: len(stages) for task, stages in towers.items()}
        if len(set(depths.values())) > 1 or min(depths.values()) < 2:
            raise ValueError(f"Expected towers of the same number of stages, at least 2; received {depths}.")
        super().__init__(heads, weighting, missing, **kwargs)
        self.towers, self.own = {task: list(stages) for task, stages in towers.items()}, own
        self.units = [CrossStitchUnit(own) for _ in range(min(depths.values()) - 1)]

    @property
    def shared_variables(self):
        """Those of all stages but the last, and of the mixtures."""
        layers = [*(stage for stages in self.towers.values() for stage in stages[:-1]), *self.units]
        return [v for layer in layers for v in layer.trainable_variables]

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read, each from the last stage of its tower."""
        read = dict.fromkeys(self.heads, x)
        for depth, unit in enumerate(self.units):
            outputs = [self.towers[task][depth](value, training=training) for task, value in read.items()]
            read = dict(zip(read, ops.unstack(unit(ops.stack(outputs, axis=1)), len(outputs), axis=1)))
        tasks = self.heads if tasks is None else tasks
        return {task: self.towers[task][-1](read[task], training=training) for task in tasks}
