"""Distillation: how far a student's predictions are from a teacher's, softened by a temperature."""

import keras
from keras import ops

from keras_transfer.losses.checks import check_temperature


def distillation(teacher_logits, student_logits, temperature=2.0):
    """Returns the divergence of a student's softened predictions from a teacher's.

    distillation = T^2 mean over rows of KL(softmax(teacher / T) || softmax(student / T))

    The factor T^2 keeps the gradient's size, which the temperature would shrink. No gradient flows to the teacher.

    Args:
        teacher_logits: logits `(..., classes)`, not probabilities. One logit z stands for the pair (0, z).
        student_logits: logits of the same shape.
        temperature: positive float T; higher values let the small probabilities count.

    Returns:
        A scalar of at least 0, float32 at least.

    Raises:
        ValueError: if the shapes differ, or the temperature is not positive.

    Departs: the paper minimises the cross-entropy, which differs by the teacher's entropy and has the same gradient.

    Reference:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, NIPS Deep Learning Workshop 2014,
        arXiv:1503.02531.
    """
    return ops.mean(_rows(teacher_logits, student_logits, check_temperature(temperature)))


@keras.saving.register_keras_serializable(package="keras_transfer")
class DistillationLoss(keras.losses.Loss):
    """Wraps `distillation` as a Keras loss, for a student that trains on stored logits of its teacher.

    Args:
        temperature: positive float.

    Example:

    ```python
    student.compile("adam", kt.losses.DistillationLoss(temperature=2.0))
    student.fit(x, teacher.predict(x), epochs=10)
    ```
    """

    def __init__(self, temperature=2.0, name="distillation", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = check_temperature(temperature)

    def call(self, y_true, y_pred):
        """Returns one value for each row: y_true are the teacher's logits, y_pred the student's."""
        return _rows(y_true, y_pred, self.temperature)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "temperature": self.temperature}


def _rows(teacher, student, temperature):
    if len(teacher.shape) != len(student.shape) or teacher.shape[-1] != student.shape[-1]:
        raise ValueError(
            "Expected logits of teacher and student of the same shape (..., classes); "
            f"received shapes {tuple(teacher.shape)} and {tuple(student.shape)}."
        )
    teacher, student = (_log_softmax(logits, temperature) for logits in (ops.stop_gradient(teacher), student))
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)


def _log_softmax(logits, temperature):
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if logits.shape[-1] == 1:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    return ops.log_softmax(logits / temperature, axis=-1)
