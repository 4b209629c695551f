"""Dark experience replay: rows of former tasks with what the model said of them then."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.models.continual.shared import MemoryModel
from keras_transfer.networks import PASSES


@keras.saving.register_keras_serializable(package="keras_transfer")
class DERpp(MemoryModel):
    """Learns tasks one after another, and replays rows of former ones with their labels and with their logits.

    task   = mean loss over the rows of the present task
    replay = mean loss over rows of the buffer
    logits = mean over these rows and classes of  (f(x) - f_then(x))^2
    total  = task + replay_weight * replay + logits_weight * logits

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        memory: `kt.layers.ReplayBuffer` for rows of the encoder's inputs and the head's classes, with `logits=True`.
        replay_weight: float or schedule, the weight of `replay`.
        logits_weight: float or schedule, the weight of `logits`.
        passes: how the two go through the networks: `"joint"` or `"separate"`, see `kt.networks.run_pair`.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: as `kt.models.ExperienceReplay` does.

    Example:

    ```python
    memory = kt.layers.ReplayBuffer(1000, (28, 28, 1), classes=10, logits=True)
    model = kt.models.DERpp(encoder, head, memory)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(kt.streams.replay((x, y), memory), epochs=5, shuffle=False)
        model.consolidate(x, y)
    ```

    Departs: logits are those at the end of a row's task, not those of the step in which it was seen; labels and logits
    are of the same rows, the paper draws twice.

    Reference:
        Buzzega et al., Dark Experience for General Continual Learning: a Strong, Simple Baseline, NeurIPS 2020,
        arXiv:2004.07211.
    """

    def __init__(
        self,
        encoder,
        head,
        memory,
        replay_weight=0.5,
        logits_weight=0.5,
        passes="joint",
        tasks=None,
        **kwargs,
    ):
        replay_weight = check_weight(replay_weight, "replay_weight")
        logits_weight = check_weight(logits_weight, "logits_weight")
        terms = {"task": 1.0, "replay": replay_weight, "logits": logits_weight}
        super().__init__(encoder, head, memory, terms, tasks, **kwargs)
        if not memory.logits:
            raise ValueError("Expected a `memory` that keeps logits, `kt.layers.ReplayBuffer(..., logits=True)`.")
        self.replay_weight, self.logits_weight = replay_weight, logits_weight
        self.passes = check_choice(passes, "passes", PASSES)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `replay` and `logits`."""
        then, now = (ops.cast(one, "float32") for one in (x["memory"]["logits"], outputs["replayed"]))
        there = ops.logical_not(ops.isnan(then))  # rows of the first task, and classes that came later, have none
        apart = ops.where(there, ops.square(now - ops.where(there, then, 0.0)), 0.0)
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "replay": self.task_loss(x["memory"]["y"], outputs["replayed"]),
            "logits": ops.mean(apart),
        }
