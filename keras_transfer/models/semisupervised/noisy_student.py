"""Noisy Student: a teacher labels what it is sure of, a student learns that under noise, and becomes the teacher."""

import numpy as np

from keras_transfer.checks import check_flag, check_integer, check_number
from keras_transfer.networks import check_logits


def noisy_student(teacher, train, labelled, unlabelled, rounds=1, threshold=0.3, balanced=True, batch_size=256):
    """Trains students in phases, each on the labels and on what its teacher says of unlabelled rows.

    In each phase the teacher predicts the unlabelled rows as they are; those above the threshold get its probabilities
    as soft labels; with `balanced` each class gets as many rows, the surest first, of small classes some twice. `train`
    makes a student, as large as the teacher or larger, and trains it with noise: augmentation, dropout.

    Args:
        teacher: trained network from inputs to logits `(batch, classes)`.
        train: function of the phase, 0, 1, ..., and of `x` and `y`: inputs `(rows, ...)`, the labelled ones first, and
            probabilities `(rows, classes)`. It returns a trained network to logits.
        labelled: pair of inputs `(rows, ...)` and integer labels `(rows,)`.
        unlabelled: inputs `(rows, ...)`.
        rounds: int, phases.
        threshold: float from 0 to 1, above which the teacher is believed.
        balanced: bool.
        batch_size: int, rows at once when the teacher predicts.

    Returns:
        The students, a list; the last is the one to serve.

    Raises:
        ValueError: if a number is out of range, a class has no label, the teacher is sure of no row, or
            it, or a student, ends in a softmax.

    Example:

    ```python
    def train(phase, x, y):
        student = keras.Sequential([augment, new_encoder(), keras.layers.Dense(10)])
        student.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
        student.fit(x, y, epochs=10)
        return student

    *_, student = kt.models.noisy_student(teacher, train, (x, y), x_unlabelled, rounds=2)
    ```

    Reference:
        Xie et al., Self-Training with Noisy Student Improves ImageNet Classification, CVPR 2020, arXiv:1911.04252.
    """
    check_logits(teacher, "teacher")
    check_integer(rounds, "rounds")
    check_number(threshold, "threshold", least=0, below=1)
    check_flag(balanced, "balanced")
    x, y = labelled
    y, students = np.asarray(y), []
    for phase in range(rounds):
        logits = np.asarray(teacher.predict(unlabelled, batch_size=batch_size, verbose=0), "float64")
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        if sorted(set(y.tolist())) != list(range(p.shape[1])):
            raise ValueError(f"Expected labels of all {p.shape[1]} classes; received {sorted(set(y.tolist()))}.")
        rows = _believed(p, threshold, balanced)
        if not len(rows):
            raise ValueError(
                f"Expected a teacher that is sure of some rows; received one whose largest probability is "
                f"{p.max():.2f}, below the threshold {threshold}."
            )
        soft = np.concatenate([np.eye(p.shape[1])[y], p[rows]]).astype("float32")
        teacher = train(phase, np.concatenate([x, unlabelled[rows]]), soft)
        check_logits(teacher, "student")
        students.append(teacher)
    return students


def _believed(p, threshold, balanced):
    """The places of the rows that a teacher is sure of; with `balanced` as many of each class that it names."""
    named, sure = p.argmax(-1), p.max(-1)
    if not balanced:
        return np.flatnonzero(sure > threshold)
    places = [np.flatnonzero((named == c) & (sure > threshold)) for c in range(p.shape[1])]
    places = [rows[np.argsort(-sure[rows], kind="stable")] for rows in places if len(rows)]
    each = int(np.median([len(rows) for rows in places])) if places else 0
    return np.concatenate([np.resize(rows, each) for rows in places]) if each else np.array([], int)
