"""Watches whether each task learns at all."""

import keras
import numpy as np

SUFFIX = "_term"


class TaskMonitor(keras.callbacks.Callback):
    """Names a task, or any other term of the loss, that does not learn.

    What tasks count, and the cosines between their gradients where a weighting weighs these, are in the logs anyway, as
    `<task>_weight` and `<task>_<other>_cosine`. Cosines below 0 are tasks that pull the shared weights apart.

    Raises:
        ValueError: in training, at the end of the first step, if the model logs no terms; at the end of a step, if a
            term is not finite; at the end of an epoch of at least 2 steps, if it was the same in all of them, as it is
            for a task that has no labels. The task is named.

    Example:

    ```python
    model = kt.models.SharedEncoder(encoder, heads, kt.weightings.PCGrad())
    model.fit(images, labels, callbacks=[kt.callbacks.TaskMonitor()])
    ```
    """

    def on_epoch_begin(self, epoch, logs=None):
        """Forgets the last epoch."""
        self.terms = {}

    def on_train_batch_end(self, batch, logs=None):
        """Keeps the terms of this step, which are means since the epoch began, after a check that they are finite."""
        found = {name.removesuffix(SUFFIX): value for name, value in logs.items() if name.endswith(SUFFIX)}
        if not found:
            raise ValueError(f"Expected a model that logs its terms as `<task>{SUFFIX}`; received {sorted(logs)}.")
        for task, loss in found.items():
            if not np.isfinite(loss):
                raise ValueError(f"Expected finite losses; received {loss} for the task {task!r} in batch {batch}.")
            self.terms.setdefault(task, []).append(loss)

    def on_epoch_end(self, epoch, logs=None):
        """Checks that the terms moved."""
        for task, losses in self.terms.items():
            if len(losses) > 1 and np.ptp(losses) <= 1e-6 * abs(losses[0]):
                reason = "it has no labels" if losses[0] == 0 else "nothing moves it"
                raise ValueError(
                    f"Expected a loss that changes; received {losses[0]:g} in all {len(losses)} steps of an epoch for "
                    f"the task {task!r}: {reason}."
                )
