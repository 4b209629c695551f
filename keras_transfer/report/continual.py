"""What learning tasks one after another kept, and what it lost: numbers from the matrix of accuracies."""

import numpy as np


def continual_scores(matrix, untrained=None):
    """Returns the numbers of continual learning from accuracies after each task on each task.

    accuracy          = mean over all tasks i of R[T, i]
    backward_transfer = mean over former tasks i of R[T, i] - R[i, i]
    forgetting        = mean over former tasks i of max over i <= t < T of R[t, i] - R[T, i]
    forward_transfer  = mean over later tasks i of R[i - 1, i] - b_i
    stability         = mean over former tasks i of R[T, i]
    plasticity        = mean over all tasks i of R[i, i]

    T is the last task. Forgetting is from the best that there was, as in Chaudhry et al.; some libraries take R[i, i],
    which is minus the backward transfer.

    Args:
        matrix: array `(tasks, tasks)`: R[t, i] is the accuracy on task i after training on the tasks up to t.
        untrained: array `(tasks,)`, the accuracies b before any training; None: there is no forward transfer.

    Returns:
        Dict of floats; of one task accuracy and plasticity alone.

    Raises:
        ValueError: if the matrix is not square, or has values that are not finite.

    Reference:
        Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, NIPS 2017, arXiv:1706.08840; Chaudhry et
        al., Riemannian Walk for Incremental Learning, ECCV 2018, arXiv:1801.10112.
    """
    r = np.asarray(matrix, "float64")
    if r.ndim != 2 or r.shape[0] != r.shape[1] or not r.size or not np.isfinite(r).all():
        raise ValueError(f"Expected a finite matrix (tasks, tasks) of accuracies; received shape {r.shape}.")
    own, last, tasks = np.diag(r), r[-1], len(r)
    found = {"accuracy": last.mean(), "plasticity": own.mean()}
    if tasks > 1:
        best = [r[i:-1, i].max() for i in range(tasks - 1)]
        found["stability"] = last[:-1].mean()
        found["backward_transfer"] = (last - own)[:-1].mean()
        found["forgetting"] = (best - last[:-1]).mean()
        if untrained is not None:
            before = np.asarray(untrained, "float64")
            if before.shape != (tasks,):
                raise ValueError(f"Expected accuracies ({tasks},) before training; received shape {before.shape}.")
            found["forward_transfer"] = np.mean([r[i - 1, i] - before[i] for i in range(1, tasks)])
    return {name: float(value) for name, value in found.items()}
