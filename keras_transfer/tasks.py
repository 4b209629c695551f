"""Logits among the classes of a row's own task, where one head has those of all tasks."""

import numpy as np
from keras import ops

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
