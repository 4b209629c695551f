"""Cross-entropy among the classes of a label's own task: one head for all tasks, of which each uses its part."""

import keras
from keras import ops

from keras_transfer.checks import check_tasks
from keras_transfer.tasks import within_task


@keras.saving.register_keras_serializable(package="keras_transfer")
class TaskCrossentropy(keras.losses.Loss):
    """Cross-entropy of integer labels, each among the classes of its own task (task-incremental learning).

    It is what a head for each task would have, of one head `(batch, classes)` for all. Works with any Keras model.

    Args:
        tasks: list over the tasks of lists of their classes, each class in one task; those in none are told among
            themselves.

    Raises:
        ValueError: if `tasks` is no such list.

    Example:

    ```python
    tasks = [[0, 1], [2, 3]]
    model.compile("adam", kt.losses.TaskCrossentropy(tasks), metrics=[kt.metrics.TaskAccuracy(tasks)])
    ```
    """

    reads_class_numbers = True

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
