"""Distillation: a student that learns from a teacher's predictions, and from labels where there are any."""

import keras

from keras_transfer.checks import check_weight
from keras_transfer.losses.checks import check_temperature
from keras_transfer.losses.distillation import distillation
from keras_transfer.model import TransferModel
from keras_transfer.networks import check_logits, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class Distillation(TransferModel):
    """Trains a small network to predict what a large one predicts, so that the small one can be served.

    task         = loss(y, head(encoder(x)))
    distillation = T^2 mean KL(softmax(teacher(x) / T) || softmax(head(encoder(x)) / T))
    total        = task_weight * task + distillation_weight * distillation

    The teacher is saved with the model, so that training can go on, and is not exported: what is served is the student.
    It runs in inference mode and **is frozen here: its `trainable` becomes False**.

    Sample weights weigh `task` alone: rows without a label may join with any label and weight 0. With `task_weight=0`
    there is no term `task`, and `fit(x)` needs neither labels nor a compiled loss.

    Args:
        encoder: network of the student, from an input to features `(batch, dim)`.
        head: network of the student, from features to logits `(batch, classes)`, not probabilities.
        teacher: built and trained network from the same input to logits `(batch, classes)`, not probabilities.
        temperature: positive float T, softens both predictions.
        distillation_weight: float or schedule, the weight of `distillation`.
        task_weight: float or schedule, the weight of `task`; 0 for unlabelled batches.

    Raises:
        ValueError: if a network is no Keras layer, the teacher is not built, teacher or head ends in a softmax or a
            sigmoid, the temperature is not positive, or a weight is negative or no number.

    Example:

    ```python
    model = kt.models.Distillation(encoder, head, teacher, temperature=4.0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/student", x_test)
    ```

    Reference:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, NIPS Deep Learning Workshop 2014,
        arXiv:1503.02531.
    """

    def __init__(self, encoder, head, teacher, temperature=2.0, distillation_weight=1.0, task_weight=1.0, **kwargs):
        check_networks(encoder=encoder, head=head, teacher=teacher)
        if not teacher.built:
            raise ValueError(f"Expected a built and trained teacher; received {teacher.name!r}, which is not built.")
        check_logits(teacher, "teacher")
        check_logits(head, "head")
        task_weight = check_weight(task_weight, "task_weight")
        distillation_weight = check_weight(distillation_weight, "distillation_weight")
        terms = {"task": task_weight, "distillation": distillation_weight}
        super().__init__({name: weight for name, weight in terms.items() if name != "task" or weight != 0}, **kwargs)
        self.encoder, self.head, self.teacher = encoder, head, teacher
        self.temperature = check_temperature(temperature)
        self.distillation_weight, self.task_weight = distillation_weight, task_weight
        teacher.trainable = False

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `distillation`, and `task` unless its weight is 0."""
        terms = {"distillation": distillation(self.teacher(x, training=False), outputs["prediction"], self.temperature)}
        if "task" in self.term_weights:
            terms["task"] = self.task_loss(y, outputs["prediction"], sample_weight)
        return terms
