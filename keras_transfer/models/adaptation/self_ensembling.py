"""Self-ensembling: a teacher that follows the student at a distance labels the target, and is served."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_number, check_weight
from keras_transfer.losses.checks import check_predictions
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import classify
from keras_transfer.networks import PASSES, check_logits, check_networks, follow, follower, run_pair


@keras.saving.register_keras_serializable(package="keras_transfer")
class SelfEnsembling(TransferModel):
    """Adapts a classifier to an unlabelled domain by a mean teacher, an average of the student over its steps.

    p, q        = softmax of the student on the strong view of the target, of the teacher on the weak one
    consistency = mean over target rows of [max q > threshold] * sum_c (p_c - q_c)^2
    teacher     = momentum * teacher + (1 - momentum) * student,   in each training step
    total       = task + consistency_weight * consistency

    The teacher sees the target alone: the statistics of its BatchNormalization are those of the target. It has no
    Dropout. It is what `model(x)` computes and what is exported. `share_sure` in the logs is the share of target rows
    that teach.

    Args:
        encoder: built network from an input to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        consistency_weight: float or schedule, the weight of `consistency`, which is at most 2.
        momentum: float from 0 to 1, or schedule, how much the teacher keeps.
        threshold: float from 0 to 1, the teacher's confidence above which a row teaches.
        passes: how source and target pass through the student: `"joint"` or `"separate"`, as in `kt.models.AdaMatch`.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, a weight, the
            momentum or the threshold is out of range, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.SelfEnsembling(encoder, head)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    augment = {"source": strong, "target_weak": weak, "target_strong": strong}
    model.fit(kt.streams.domains((x_source, y_source), x_target, augment=augment), epochs=10)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: no class-balance loss; source and target share the student's statistics by default, the paper's have their
    own (`passes="separate"`).

    Reference:
        French, Mackiewicz and Fisher, Self-Ensembling for Visual Domain Adaptation, ICLR 2018, arXiv:1706.05208;
        Tarvainen and Valpola, Mean Teachers are Better Role Models, NIPS 2017, arXiv:1703.01780.
    """

    streams = ("source", "target_weak", "target_strong")

    def __init__(
        self, encoder, head, consistency_weight=1.0, momentum=0.99, threshold=0.968, passes="separate", **kwargs
    ):
        check_networks(encoder=encoder, head=head)
        check_logits(head, "head")
        consistency_weight = check_weight(consistency_weight, "consistency_weight")
        super().__init__({"task": 1.0, "consistency": consistency_weight}, **kwargs)
        self.encoder, self.head, self.consistency_weight = encoder, head, consistency_weight
        self.momentum = check_weight(momentum, "momentum", most=1)
        self.threshold = check_number(threshold, "threshold", least=0, most=1)
        self.passes = check_choice(passes, "passes", PASSES)
        self.teacher_encoder, self.teacher_head = follower(encoder), follower(head)

    @property
    def served(self):
        """The teacher's encoder and head."""
        return self.teacher_encoder, self.teacher_head

    def forward(self, x, training=False):
        """Returns the student's predictions of source and strong view, and the teacher's of the weak view."""

        def student(batch, training):
            return classify(self.encoder, self.head, batch, training)[1]

        names = ("source", "target_strong")
        prediction, strong = run_pair(student, *(x[name] for name in names), self.passes, training, names)
        taught = classify(self.teacher_encoder, self.teacher_head, x["target_weak"], training)[1]
        return {"prediction": prediction, "strong": strong, "taught": taught}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `consistency`."""
        check_predictions(outputs["taught"])
        learned, taught = (ops.softmax(ops.cast(outputs[name], "float32")) for name in ("strong", "taught"))
        taught = ops.stop_gradient(taught)
        sure = ops.cast(ops.max(taught, axis=-1) > self.threshold, "float32")
        self.log("share_sure", ops.mean(sure))
        apart = ops.sum(ops.square(learned - taught), axis=-1)
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight), "consistency": ops.mean(sure * apart)}

    def advance(self, outputs):
        """Moves the teacher towards the student."""
        momentum = self.now(self.momentum)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_head, self.head, momentum)
