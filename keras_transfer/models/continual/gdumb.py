"""GDumb: rows are kept, and when an answer is asked for a new model learns from them alone."""

import keras
import numpy as np
from keras import ops

from keras_transfer.models.continual.shared import MemoryModel


@keras.saving.register_keras_serializable(package="keras_transfer")
class GDumb(MemoryModel):
    """Keeps a balanced sample of all tasks, and learns from it alone, each time from the start.

    What a method that learns from a stream has to beat: it remembers nothing but rows. `consolidate` takes rows of a
    task into the buffer and puts the weights back to where they were when the model was made; `fit` on what is kept
    comes after it.

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        memory: `kt.layers.ReplayBuffer` for rows of the encoder's inputs and the head's classes.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: as `kt.models.ExperienceReplay` does.

    Example:

    ```python
    memory = kt.layers.ReplayBuffer(1000, (28, 28, 1), classes=10)
    model = kt.models.GDumb(encoder, head, memory)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in tasks:
        model.consolidate(x, y)
        kept = memory.held()
        model.fit(kept["x"], kept["y"], epochs=30)
    ```

    Departs: rows are a uniform sample of each class, the paper's are the first that come; no CutMix.

    Reference:
        Prabhu, Torr and Dokania, GDumb: A Simple Approach that Questions Our Progress in Continual Learning, ECCV 2020.
    """

    streams = ()
    fitted_first = False

    def __init__(self, encoder, head, memory, tasks=None, **kwargs):
        super().__init__(encoder, head, memory, {"task": 1.0}, tasks, **kwargs)
        self.start = [
            self._kept(f"start_{i}", v.shape, v.dtype) for i, v in enumerate([*encoder.weights, *head.weights])
        ]
        for kept, v in zip(self.start, [*encoder.weights, *head.weights]):
            kept.assign(v)

    def forward(self, x, training=False):
        """Returns the prediction."""
        return {"prediction": self.infer(x, training=training)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight)}

    def keep(self, x, y, classes):
        """Adds rows of the task to the buffer, and begins anew."""
        self.memory.add(np.asarray(x), y)
        for kept, v in zip(self.start, [*self.encoder.weights, *self.head.weights]):
            v.assign(ops.convert_to_tensor(kept))
