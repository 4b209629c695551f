"""A-GEM: a step that would raise the loss on former tasks is projected until it does not."""

import keras

from keras_transfer.checks import check_choice
from keras_transfer.gradients import project
from keras_transfer.models.continual.shared import MemoryModel
from keras_transfer.networks import PASSES


@keras.saving.register_keras_serializable(package="keras_transfer")
class AGEM(MemoryModel):
    """Learns tasks one after another; a buffer of rows of former ones says which steps would forget them.

    g = gradient of the loss over the present rows,   r = over rows of the buffer
    update = g - min(0, g . r) / |r|^2 r

    Over the whole network at once. The buffer's loss is not minimised, it bounds: its term counts in the logged `loss`
    and not in the update. TensorFlow.

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        memory: `kt.layers.ReplayBuffer` for rows of the encoder's inputs and the head's classes.
        passes: how the two go through the networks: `"joint"` or `"separate"`, see `kt.networks.run_pair`; of separate
            ones each gradient takes half of the time.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: as `kt.models.ExperienceReplay` does.

    Example:

    ```python
    memory = kt.layers.ReplayBuffer(1000, (28, 28, 1), classes=10)
    model = kt.models.AGEM(encoder, head, memory)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(kt.streams.replay((x, y), memory), epochs=5, shuffle=False)
        model.consolidate(x, y)
    ```

    Reference:
        Chaudhry et al., Efficient Lifelong Learning with A-GEM, ICLR 2019, arXiv:1812.00420, equation 11.
    """

    def __init__(self, encoder, head, memory, passes="separate", tasks=None, **kwargs):
        super().__init__(encoder, head, memory, {"task": 1.0, "memory": 1.0}, tasks, **kwargs)
        self.passes = check_choice(passes, "passes", PASSES)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `memory`."""
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "memory": self.task_loss(x["memory"]["y"], outputs["replayed"]),
        }

    def combine(self, gradients):
        """Projects the gradient of the present rows."""
        return project(gradients["task"], gradients["memory"])
