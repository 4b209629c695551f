"""FixMatch: a strong view learns the class that the weak view of the same unlabelled row is sure of."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_choice, check_flag, check_integer, check_number, check_weight
from keras_transfer.models.semisupervised.shared import SemiSupervised, cross_entropy, label_shares, probabilities
from keras_transfer.networks import all_rows, follow, follower, keep_finite

THRESHOLDS = ("fixed", "flex", "free")


@keras.saving.register_keras_serializable(package="keras_transfer")
class FixMatch(SemiSupervised):
    """Trains on labelled rows, and on strong views of unlabelled ones with the sure classes of their weak views.

    task        = loss(y, head(encoder(labelled)))
    p           = softmax(weak), without a gradient; aligned: p * labelled shares / shares of p, scaled to sum 1
    consistency = mean over unlabelled rows of [max p >= threshold_c] -log softmax(strong)_c,  c = argmax p
    total       = task + consistency_weight * consistency

    Thresholds of class c, with `t = sure_enough`:

    - `"fixed"`: t.
    - `"flex"` (FlexMatch): t b_c / (2 - b_c), where b_c is the number of rows last told sure to be of class c, relative
      to the largest, or to those of which nothing is known yet. Needs the stream `unlabelled_rows`.
    - `"free"` (FreeMatch): T P_c / max P, where T is the moving mean of max p, and P that of p.

    What is served is the average of the weights, with the BatchNormalization statistics of the network itself; with
    `average=None` the network. Its BatchNormalization should have a momentum of .9: `fit` warns of one that cannot
    follow. `share_sure`, `pseudo_label_entropy` and `agreement` (of both views) are logged.

    Args:
        encoder: network from an input to features `(batch, dim)`, built.
        head: network from features to logits `(batch, classes)`, not probabilities, built.
        consistency_weight: float or schedule of `step`.
        sure_enough: float in (0, 1), t above; `"free"` ignores it.
        threshold: `"fixed"`, `"flex"` or `"free"`.
        alignment: bool, whether predictions are aligned to the shares of the labels.
        rows: int, the number of unlabelled rows, for `"flex"`.
        momentum: float from 0 to 1, of the moving shares and thresholds.
        average: float from 0 to 1, what the average of weights keeps at a step; None: none is kept.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, a number is
            out of range, or `rows` is missing for `"flex"`, or given without it.

    Example:

    ```python
    model = kt.models.FixMatch(encoder, head, threshold="free", alignment=True)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.labelled_and_unlabelled((x, y), x_unlabelled, weak, strong), epochs=10, shuffle=False)
    kt.export(model, "saved_models/classifier", x)
    ```

    Departs: FreeMatch's term of fairness is left out: alignment does that.

    Reference:
        Sohn et al., FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, NeurIPS 2020,
        arXiv:2001.07685; alignment as in Berthelot et al., ReMixMatch, ICLR 2020, arXiv:1911.09785; Zhang et al.,
        FlexMatch, NeurIPS 2021, arXiv:2110.08263; Wang et al., FreeMatch, ICLR 2023, arXiv:2205.07246.
    """

    streams = ("labelled", "unlabelled_weak", "unlabelled_strong")

    def __init__(
        self,
        encoder,
        head,
        consistency_weight=1.0,
        sure_enough=0.95,
        threshold="fixed",
        alignment=False,
        rows=None,
        momentum=0.99,
        average=0.99,
        **kwargs,
    ):
        consistency_weight = check_weight(consistency_weight, "consistency_weight")
        super().__init__({"task": 1.0, "consistency": consistency_weight}, encoder, head, **kwargs)
        self.consistency_weight = consistency_weight
        self.sure_enough = check_number(sure_enough, "sure_enough", above=0, below=1)
        self.threshold = check_choice(threshold, "threshold", THRESHOLDS)
        self.alignment = check_flag(alignment, "alignment")
        self.momentum = check_number(momentum, "momentum", least=0, below=1)
        self.average = None if average is None else check_number(average, "average", least=0, below=1)
        if (threshold == "flex") != (rows is not None):
            raise ValueError(f"Expected `rows` with the threshold 'flex' and no other; received {rows}, {threshold!r}.")
        self.rows = None if rows is None else check_integer(rows, "rows")
        if not head.built:
            raise ValueError(f"Expected a built head; received {head.name!r}: begin it with `keras.Input`.")
        classes = head.output_shape[-1]
        even, kept = np.full(classes, 1.0 / classes), {}
        if self.alignment:
            kept |= {"labelled_shares": even, "predicted_shares": even}
        if threshold == "free":
            kept |= {"mean_probability": even, "mean_confidence": 1.0 / classes}
        if threshold == "flex":
            self.streams = (*type(self).streams, "unlabelled_rows")
            kept["last_sure"] = np.full(rows, -1.0)
        for name, value in kept.items():
            start = keras.initializers.Constant(float(np.max(value)))
            weight = self.add_weight(
                shape=np.shape(value), initializer=start, trainable=False, autocast=False, name=name
            )
            setattr(self, name, weight)
        self.average_encoder = None if average is None else follower(encoder)
        self.average_head = None if average is None else follower(head)

    @property
    def served(self):
        """The average of encoder and head, or where none is kept these."""
        return (self.encoder, self.head) if self.average is None else (self.average_encoder, self.average_head)

    def forward(self, x, training=False):
        """Returns the predictions of the labelled rows and of both views."""
        logits = self.classify(*(x[stream] for stream in self.streams[:3]), training=training)
        outputs = dict(zip(("prediction", "weak", "strong"), logits))
        return {**outputs, "rows": x["unlabelled_rows"]} if self.threshold == "flex" else outputs

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `consistency`."""
        p = probabilities(outputs["weak"])
        if self.alignment:
            outputs["labels"] = label_shares(y, p.shape[-1])
            p = p * self.labelled_shares / ops.maximum(self.predicted_shares, 1e-6)
            p = p / ops.sum(p, axis=-1, keepdims=True)
        labels, confidence = ops.argmax(p, axis=-1), ops.max(p, axis=-1)
        sure = ops.cast(confidence >= ops.take(self.thresholds(p.shape[-1]), labels), "float32")
        self.log_pseudo_labels(labels, sure, p.shape[-1])
        self.log_agreement(p, outputs["strong"])
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "consistency": ops.mean(sure * cross_entropy(labels, outputs["strong"])),
        }

    def thresholds(self, classes):
        """Returns the threshold of each class `(classes,)` as it now is.

        Args:
            classes: int.
        """
        if self.threshold == "free":
            return self.mean_confidence * self.mean_probability / ops.max(self.mean_probability)
        if self.threshold == "fixed":
            return ops.full((classes,), self.sure_enough)
        last = ops.cast(ops.convert_to_tensor(self.last_sure), "int32")
        known = ops.sum(ops.one_hot(last, classes, dtype="float32"), axis=0)  # -1 is no class
        most = ops.maximum(ops.max(known), float(self.rows) - ops.sum(known))
        learned = known / ops.maximum(most, 1.0)
        return self.sure_enough * learned / (2.0 - learned)

    def advance(self, outputs):
        """Moves shares, thresholds and the average of the weights."""
        p = all_rows(probabilities(outputs["weak"]))

        def move(variable, value):
            keep_finite(variable, self.momentum * variable + (1.0 - self.momentum) * value)

        if self.threshold == "flex":
            rows, sure = all_rows(outputs["rows"]), ops.max(p, axis=-1) >= self.sure_enough
            before = ops.take(self.last_sure, rows)
            now = ops.where(sure, ops.cast(ops.argmax(p, axis=-1), "float32"), before)
            self.last_sure.assign(ops.scatter_update(self.last_sure, ops.cast(rows, "int32")[:, None], now))
        if self.threshold == "free":
            move(self.mean_confidence, ops.mean(ops.max(p, axis=-1)))
            move(self.mean_probability, ops.mean(p, axis=0))
        if self.alignment:
            move(self.predicted_shares, ops.mean(p, axis=0))
            move(self.labelled_shares, ops.mean(all_rows(outputs["labels"]), axis=0))
        if self.average is not None:
            follow(self.average_encoder, self.encoder, self.average, statistics="copied")
            follow(self.average_head, self.head, self.average, statistics="copied")
