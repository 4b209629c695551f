"""Cross-entropy among the classes of a label's own task: one head for all tasks, of which each uses its part."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import received

NEVER = -1e9  # the logit of a class that is no answer: its probability is 0


def within_task(y, logits, tasks):
    """Returns logits of which those of classes of other tasks than the label's are `NEVER`.

    Args:
        y: integer labels `(batch,)`.
        logits: tensor `(batch, classes)`.
        tasks: list over the tasks of lists of their classes.

    Returns:
        Tensor `(batch, classes)`, float32.
    """
    logits = ops.cast(logits, "float32")
    classes = logits.shape[-1]
    task = np.full(classes, -1)
    for number, members in enumerate(tasks):
        task[list(members)] = number
    alike = ops.convert_to_tensor(task[:, None] == task[None])
    return ops.where(ops.take(alike, ops.reshape(ops.cast(y, "int32"), (-1,)), axis=0), logits, NEVER)


def check_tasks(tasks, classes=None):
    """Checks the classes of tasks, and returns them as a list of lists.

    Args:
        tasks: list over the tasks of lists of their classes.
        classes: int, the number of classes, or None.

    Raises:
        ValueError: if a task has no class, a class is no whole number, outside the classes, or in two tasks.
    """
    whole = isinstance(tasks, list | tuple) and all(isinstance(one, list | tuple | range | np.ndarray) for one in tasks)
    if not whole or not len(tasks) or not all(map(len, tasks)):
        raise ValueError(
            f"Expected `tasks` to be a list of lists of classes, one for each task; received {received(tasks)}."
        )
    found = [[int(label) for label in one] for one in tasks]
    every = sorted(label for one in found for label in one)
    if len(set(every)) < len(every):
        twice = sorted({label for label in every if every.count(label) > 1})
        raise ValueError(f"Expected each class in one task; received {twice} in several: a label has one meaning.")
    if every[0] < 0 or (classes is not None and every[-1] >= classes):
        end = "" if classes is None else f" to {classes - 1}"
        raise ValueError(f"Expected classes from 0{end} in `tasks`; received {every[0]} to {every[-1]}.")
    return found


@keras.saving.register_keras_serializable(package="keras_transfer")
class TaskCrossentropy(keras.losses.Loss):
    """Cross-entropy of integer labels, each among the classes of its own task (task-incremental learning).

    It is what a head for each task would have, of one head `(batch, classes)` for all. Works with any Keras model.

    Args:
        tasks: list over the tasks of lists of their classes, each class in one task.

    Raises:
        ValueError: if `tasks` is no such list.

    Example:

    ```python
    tasks = [[0, 1], [2, 3]]
    model.compile("adam", kt.losses.TaskCrossentropy(tasks), metrics=[kt.metrics.TaskAccuracy(tasks)])
    ```
    """

    def __init__(self, tasks, name="task_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.tasks = check_tasks(tasks)

    def call(self, y_true, y_pred):
        """Returns one value for each row."""
        logits = within_task(y_true, y_pred, self.tasks)
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "tasks": self.tasks}
