"""Mean teacher: a student learns to predict what the average of its own past predicts of another view."""

import keras
from keras import ops

from keras_transfer.checks import check_weight
from keras_transfer.models.semisupervised.shared import SemiSupervised
from keras_transfer.networks import follow, follower


@keras.saving.register_keras_serializable(package="keras_transfer")
class MeanTeacher(SemiSupervised):
    """Trains on labelled rows, and draws a student's predictions of unlabelled ones to those of its average.

    task        = loss(y, head(encoder(labelled)))
    consistency = mean over unlabelled rows of |softmax(student(strong)) - softmax(teacher(weak))|^2
    teacher     = momentum * teacher + (1 - momentum) * student, in each step, before the student moves
    total       = task + consistency_weight * consistency

    The teacher has no gradient, drops nothing and has its own BatchNormalization statistics, from its own passes over
    labelled and unlabelled rows. **It is served and exported**, and is what `evaluate` and `predict` run.

    Args:
        encoder: network from an input to features `(batch, dim)`, built.
        head: network from features to logits `(batch, classes)`, not probabilities, built.
        consistency_weight: float or schedule of `step`; it may rise at first, `kt.schedules.DannRamp`.
        momentum: float from 0 to 1, or schedule: what the teacher keeps at a step.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, or a number is
            out of range.

    Example:

    ```python
    model = kt.models.MeanTeacher(encoder, head)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.labelled_and_unlabelled((x, y), x_unlabelled, weak, strong), epochs=10, shuffle=False)
    ```

    Departs: the consistency is of unlabelled rows alone; the paper has that of labelled ones too.

    Reference:
        Tarvainen and Valpola, Mean Teachers are Better Role Models, NIPS 2017, arXiv:1703.01780.
    """

    streams = ("labelled", "unlabelled_weak", "unlabelled_strong")

    def __init__(self, encoder, head, consistency_weight=10.0, momentum=0.99, **kwargs):
        consistency_weight = check_weight(consistency_weight, "consistency_weight")
        super().__init__({"task": 1.0, "consistency": consistency_weight}, encoder, head, **kwargs)
        self.consistency_weight = consistency_weight
        self.momentum = check_weight(momentum, "momentum", most=1)
        self.teacher_encoder, self.teacher_head = follower(encoder), follower(head)

    @property
    def served(self):
        """The teacher's encoder and head."""
        return self.teacher_encoder, self.teacher_head

    def forward(self, x, training=False):
        """Returns the student's predictions of labelled rows and strong views, and the teacher's of weak views."""
        labelled, weak, strong = (x[stream] for stream in self.streams)
        prediction, learned = self.classify(labelled, strong, training=training)
        _, taught = self.classify(labelled, weak, training=training, networks=self.served)
        return {"prediction": prediction, "strong": learned, "taught": taught}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `consistency`."""
        learned, taught = (ops.softmax(ops.cast(outputs[name], "float32")) for name in ("strong", "taught"))
        taught = ops.stop_gradient(taught)
        self.log_agreement(learned, taught)
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "consistency": ops.mean(ops.sum(ops.square(learned - taught), axis=-1)),
        }

    def advance(self, outputs):
        """Moves the teacher towards the student."""
        momentum = self.now(self.momentum)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_head, self.head, momentum)
