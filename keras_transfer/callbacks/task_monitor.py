"""Watches what the tasks count, and how far their gradients agree."""

import keras
import numpy as np


class TaskMonitor(keras.callbacks.Callback):
    """Writes each task's weight into the logs, and the cosines between the tasks' gradients where they are weighed.

    The logs are `<task>_weight` and `<task>_<other>_cosine`, means over the training steps looked at. Cosines below 0
    are tasks that pull the shared weights apart.

    Args:
        every: int of at least 1, training steps from one look to the next.

    Raises:
        ValueError: if `every` is out of range, or the model that trains has no weighting.

    Example:

    ```python
    model = kt.models.SharedEncoder(encoder, heads, kt.weightings.PCGrad())
    model.fit(images, labels, callbacks=[kt.callbacks.TaskMonitor()])
    ```
    """

    def __init__(self, every=10):
        super().__init__()
        if every < 1:
            raise ValueError(f"Expected `every` of at least 1; received {every}.")
        self.every = every

    def on_train_begin(self, logs=None):
        """Checks the model."""
        if getattr(self.model, "weighting", None) is None:
            raise ValueError(f"Expected a model with a `weighting`; received {type(self.model).__name__} without.")

    def on_epoch_begin(self, epoch, logs=None):
        """Forgets the last epoch."""
        self.weights, self.cosines = [], []

    def on_train_batch_end(self, batch, logs=None):
        """Looks."""
        if batch % self.every == 0:
            weighting = self.model.weighting
            self.weights.append(keras.ops.convert_to_numpy(weighting.used.value))
            if weighting.on is not None:
                self.cosines.append(keras.ops.convert_to_numpy(weighting.cosines.value))

    def on_epoch_end(self, epoch, logs=None):
        """Writes."""
        tasks = self.model.weighting.tasks
        for task, weight in zip(tasks, np.mean(self.weights, axis=0)):
            logs[f"{task}_weight"] = float(weight)
        if self.cosines:
            cosines = np.mean(self.cosines, axis=0)
            for i, task in enumerate(tasks):
                logs |= {f"{task}_{other}_cosine": float(cosines[i, j]) for j, other in enumerate(tasks) if j > i}
