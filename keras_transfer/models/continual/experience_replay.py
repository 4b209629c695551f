"""Experience replay: a few rows of former tasks are in every batch."""

import keras

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.models.continual.shared import MemoryModel
from keras_transfer.networks import PASSES


@keras.saving.register_keras_serializable(package="keras_transfer")
class ExperienceReplay(MemoryModel):
    """Learns tasks one after another, and trains on some rows of former ones beside each batch.

    task   = mean loss over the rows of the present task
    replay = mean loss over as many rows of the buffer
    total  = task + replay_weight * replay

    What helps most where labels do not say which task a row belongs to, and hard to beat elsewhere: before anything
    else, ask whether a hundred rows of each class may be kept.

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        memory: `kt.layers.ReplayBuffer` for rows of the encoder's inputs and the head's classes.
        replay_weight: float or schedule, the weight of `replay`.
        passes: how the two go through the networks: `"joint"` or `"separate"`, see `kt.networks.run_pair`.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, the buffer is
            for other rows or classes, or a setting is out of range.

    Example:

    ```python
    memory = kt.layers.ReplayBuffer(1000, (28, 28, 1), classes=10)
    model = kt.models.ExperienceReplay(encoder, head, memory)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(kt.streams.replay((x, y), memory), epochs=5, shuffle=False)
        model.consolidate(x, y)
    ```

    Reference:
        Rolnick et al., Experience Replay for Continual Learning, NeurIPS 2019, arXiv:1811.11682; Chaudhry et al., On
        Tiny Episodic Memories in Continual Learning, 2019, arXiv:1902.10486.
    """

    def __init__(self, encoder, head, memory, replay_weight=1.0, passes="joint", tasks=None, **kwargs):
        replay_weight = check_weight(replay_weight, "replay_weight")
        terms = {"task": 1.0, "replay": replay_weight}
        super().__init__(encoder, head, memory, terms, tasks, **kwargs)
        self.replay_weight, self.passes = replay_weight, check_choice(passes, "passes", PASSES)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `replay`."""
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "replay": self.task_loss(x["memory"]["y"], outputs["replayed"]),
        }
