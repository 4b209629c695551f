"""Accuracy among the classes of a label's own task."""

import keras
from keras import ops

from keras_transfer.checks import check_tasks
from keras_transfer.tasks import within_task


@keras.saving.register_keras_serializable(package="keras_transfer")
class TaskAccuracy(keras.metrics.Mean):
    """How often the largest logit among the classes of a label's own task is the label's (task-incremental learning).

    Args:
        tasks: list over the tasks of lists of their classes, each class in one task.

    Raises:
        ValueError: if `tasks` is no such list.
    """

    def __init__(self, tasks, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.tasks = check_tasks(tasks)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch: integer labels `(batch,)`, logits `(batch, classes)`."""
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        answers = ops.cast(ops.argmax(within_task(labels, y_pred, self.tasks), axis=-1), "int32")
        return super().update_state(ops.equal(answers, labels), sample_weight)

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "tasks": self.tasks}
