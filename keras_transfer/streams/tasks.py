"""Labelled data as a row of tasks: by classes, or by what is done to the inputs."""

import numpy as np

from keras_transfer.checks import check_tasks
from keras_transfer.streams import gate


def tasks(x, y, classes, relabel=False):
    """Splits labelled data into tasks by their classes.

    With labels as they are the tasks are class-incremental, or task-incremental where it is known at request time which
    task a row belongs to (`kt.losses.TaskCrossentropy`). With `relabel` they are domain-incremental: the same labels
    mean classes that look different from task to task.

    Args:
        x: array `(rows, ...)`.
        y: integer labels `(rows,)`.
        classes: list over the tasks of lists of their classes, each class in one task.
        relabel: bool, whether a label becomes its place among the classes of its task; these have one number then.

    Returns:
        List over the tasks of `(x, y)`, rows in their order.

    Raises:
        ValueError: if a task has no rows, a class is in two tasks, or tasks to relabel differ in their number of
            classes.

    Example:

    ```python
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    for x_task, y_task in kt.streams.tasks(x, y, pairs):
        model.fit(x_task, y_task)
        model.consolidate(x_task, y_task)
    ```
    """
    x, y = gate.arrays(x, "x"), gate.integer_labels(y, "y")
    classes = check_tasks(list(classes))
    if relabel and len(set(map(len, classes))) > 1:
        raise ValueError(f"Expected tasks of one number of classes to relabel; received {list(map(len, classes))}.")
    found = []
    for number, members in enumerate(classes):
        rows = np.flatnonzero(np.isin(y, members))
        lacking = [label for label in members if label not in y[rows]]
        if lacking:
            raise ValueError(f"Expected rows of each class; received none of {lacking}, of task {number}.")
        labels = y[rows]
        if relabel:
            labels = (labels[:, None] == np.array(members)).argmax(1).astype(y.dtype)
        found.append((x[rows], labels))
    return found


def permutations(x, y, number, seed=0):
    """Returns tasks of the same labels, in each of which the values of all rows are in another order.

    Args:
        x: array `(rows, ...)`; the values of a row are permuted over all of its axes.
        y: labels `(rows, ...)`.
        number: int, the number of tasks; in the first, rows are as they are.
        seed: int.

    Returns:
        List over the tasks of `(x, y)`.

    Reference:
        Goodfellow et al., An Empirical Investigation of Catastrophic Forgetting, ICLR 2014, arXiv:1312.6211.
    """
    gate.check_count(number, "number", 1)
    x, y = gate.arrays(x, "x"), gate.arrays(y, "y")
    if len(x) != len(y):
        raise ValueError(f"Expected as many labels as rows; received {len(x)} rows and {len(y)} labels.")
    flat, rng = x.reshape(len(x), -1), np.random.default_rng(seed)
    orders = [np.arange(flat.shape[1]), *(rng.permutation(flat.shape[1]) for _ in range(number - 1))]
    return [(flat[:, order].reshape(x.shape), y) for order in orders]
