"""Watches what the tasks count, how far their gradients agree, and whether each learns at all."""

import keras
import numpy as np


class TaskMonitor(keras.callbacks.Callback):
    """Names a task that does not learn, and logs what the tasks count and how far their gradients agree.

    Of a model with a weighting the logs gain `<task>_weight` and, where gradients are weighed, `<task>_<other>_cosine`
    between those of two tasks: means over the training steps looked at. Cosines below 0 are tasks that pull the shared
    weights apart.

    Args:
        every: int of at least 1, training steps from one look at the weights to the next.

    Raises:
        ValueError: if `every` is out of range; if the model that trains has no `heads`; in training, at the end of the
            step, if a task's loss is not finite; at the end of an epoch of at least 2 steps, if it was the same in all
            of them, as it is for a task that has no labels. The task is named.

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
        if not hasattr(self.model, "heads"):
            raise ValueError(f"Expected a model with `heads` for several tasks; received {type(self.model).__name__}.")

    def on_epoch_begin(self, epoch, logs=None):
        """Forgets the last epoch."""
        self.losses, self.weights, self.cosines = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        """Looks."""
        self.losses.append([logs[f"{task}_term"] for task in self.model.heads])  # means since the epoch began
        for task, loss in zip(self.model.heads, self.losses[-1]):
            if not np.isfinite(loss):
                raise ValueError(f"Expected finite losses; received {loss} for the task {task!r} in batch {batch}.")
        weighting = self.model.weighting
        if weighting is not None and batch % self.every == 0:
            self.weights.append(keras.ops.convert_to_numpy(weighting.used.value))
            if weighting.on is not None:
                self.cosines.append(keras.ops.convert_to_numpy(weighting.cosines.value))

    def on_epoch_end(self, epoch, logs=None):
        """Checks that the losses moved, and writes."""
        losses = np.array(self.losses)
        for task, values in zip(self.model.heads, losses.T):
            if len(values) > 1 and np.ptp(values) <= 1e-6 * abs(values[0]):
                reason = "it has no labels" if values[0] == 0 else "nothing moves it"
                raise ValueError(
                    f"Expected a loss that changes; received {values[0]:g} in all {len(values)} steps of an epoch for "
                    f"the task {task!r}: {reason}."
                )
        if not self.weights:
            return
        tasks = self.model.weighting.tasks
        for task, weight in zip(tasks, np.mean(self.weights, axis=0)):
            logs[f"{task}_weight"] = float(weight)
        if self.cosines:
            cosines = np.mean(self.cosines, axis=0)
            for i, task in enumerate(tasks):
                logs |= {f"{task}_{other}_cosine": float(cosines[i, j]) for j, other in enumerate(tasks) if j > i}
