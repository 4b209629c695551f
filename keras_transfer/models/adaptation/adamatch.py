"""AdaMatch: the target's own sure predictions, brought to the source's class frequencies, teach their strong views."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_number, check_rows, check_weight
from keras_transfer.losses.checks import check_predictions
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import classify
from keras_transfer.networks import PASSES, all_rows, check_logits, check_networks, run_pair


@keras.saving.register_keras_serializable(package="keras_transfer")
class AdaMatch(TransferModel):
    """Adapts a classifier to an unlabelled domain by pseudo-labels of weak views, which strong views learn.

    q           = normalised p_weak * (mean p_source / mean p_weak),   p = softmax(head(encoder(x)))
    sure        = max q >= threshold * mean max p_source
    consistency = mean over target rows of sure * -log p_strong[argmax q]
    total       = task + consistency_weight * consistency

    The views are what makes it work: strong ones change everything that does not change the class, in the source too.
    `share_sure` in the logs is the share of target rows that teach: near 0 nothing is learned from the target.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        consistency_weight: float or schedule, the weight of `consistency`; it rises along a ramp in the paper.
        threshold: float above 0, at most 1, the share of the source's mean confidence that a row needs.
        passes: `"joint"`: both domains go through the networks in one pass, BatchNormalization shares its statistics
            between them. `"separate"`: source and target pass by themselves, normalised by their own statistics while
            the moving averages, which serve, mix both.

    Raises:
        ValueError: if a network is no Keras layer, the head ends in a softmax or a sigmoid, a weight or threshold is
            out of range, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.AdaMatch(encoder, head, kt.schedules.DannRamp(steps=1000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    augment = {"source": strong, "target_weak": weak, "target_strong": strong}
    model.fit(kt.streams.domains((x_source, y_source), x_target, augment=augment), epochs=10)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: one view of the source, the strong one, and no random interpolation between the logits of two passes; both
    means are those of the batch, of the global batch under several replicas.

    Reference:
        Berthelot, Roelofs, Sohn, Carlini and Kurakin, AdaMatch: A Unified Approach to Semi-Supervised Learning and
        Domain Adaptation, ICLR 2022, arXiv:2106.04732.
    """

    streams = ("source", "target_weak", "target_strong")

    def __init__(self, encoder, head, consistency_weight=1.0, threshold=0.9, passes="joint", **kwargs):
        check_networks(encoder=encoder, head=head)
        check_logits(head, "head")
        consistency_weight = check_weight(consistency_weight, "consistency_weight")
        super().__init__({"task": 1.0, "consistency": consistency_weight}, **kwargs)
        self.encoder, self.head, self.consistency_weight = encoder, head, consistency_weight
        self.threshold = check_number(threshold, "threshold", above=0, most=1)
        self.passes = check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns the predictions of the source and of both views of the target."""
        names = ("target_weak", "target_strong")
        weak, strong = (x[name] for name in names)
        check_rows(weak, strong, names, axes=0)
        target = keras.tree.map_structure(lambda *views: ops.concatenate(views), weak, strong)

        def run(batch, training):
            return classify(self.encoder, self.head, batch, training)[1]

        prediction, both = run_pair(run, x["source"], target, self.passes, training, ("source", names[0]))
        rows = ops.shape(both)[0] // 2
        return {"prediction": prediction, "weak": both[:rows], "strong": both[rows:]}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `consistency`."""
        check_predictions(outputs["weak"])
        source, weak = (
            ops.stop_gradient(ops.softmax(ops.cast(outputs[name], "float32"))) for name in ("prediction", "weak")
        )
        every_source, every_weak = all_rows(source), all_rows(weak)
        ratio = ops.mean(every_source, axis=0) / ops.maximum(ops.mean(every_weak, axis=0), 1e-6)
        aligned = weak * ratio
        aligned = aligned / ops.sum(aligned, axis=-1, keepdims=True)
        sure = ops.cast(
            ops.max(aligned, axis=-1) >= self.threshold * ops.mean(ops.max(every_source, axis=-1)), "float32"
        )
        self.log("share_sure", ops.mean(sure))
        learned = ops.sparse_categorical_crossentropy(
            ops.argmax(aligned, axis=-1), ops.cast(outputs["strong"], "float32"), from_logits=True
        )
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "consistency": ops.mean(sure * learned),
        }
