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
            term is not finite; at the end of an epoch of at least 2 steps, if a task had no label in it; at the end of
            a second epoch, if a term was the same in all steps of both. The task is named.

    Example:

    ```python
    model = kt.models.SharedEncoder(encoder, heads, kt.weightings.PCGrad())
    model.fit(images, labels, callbacks=[kt.callbacks.TaskMonitor()])
    ```
    """

    def on_train_begin(self, logs=None):
        """Forgets the last training."""
        self.still = {}

    def on_epoch_begin(self, epoch, logs=None):
        """Forgets the terms of the last epoch."""
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
        """Checks that the terms moved. One that did not in one epoch may have had labels in its first step alone."""
        before, self.still = self.still, {}
        for task, losses in self.terms.items():
            if len(losses) < 2 or np.ptp(losses) > 1e-6 * abs(losses[0]):
                continue
            self.still[task] = losses[0]
            labels = losses[0] != 0
            if not labels or abs(losses[0] - before.get(task, np.inf)) <= 1e-6 * abs(losses[0]):
                reason = "nothing moves it" if labels else "it has no labels"
                raise ValueError(
                    f"Expected a loss that changes; received {losses[0]:g} in all {len(losses)} steps of an epoch for "
                    f"the task {task!r}: {reason}."
                )
