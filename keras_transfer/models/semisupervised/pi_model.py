"""Pi-model: two views of an unlabelled row are to be predicted alike."""

import keras
from keras import ops

from keras_transfer.checks import check_weight
from keras_transfer.models.semisupervised.shared import SemiSupervised


@keras.saving.register_keras_serializable(package="keras_transfer")
class PiModel(SemiSupervised):
    """Trains on labelled rows, and draws the predictions of two views of each unlabelled row together.

    task        = loss(y, head(encoder(labelled)))
    consistency = mean over unlabelled rows of |softmax(weak) - softmax(strong)|^2
    total       = task + consistency_weight * consistency

    Both views have a gradient, and dropout differs between them too.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        consistency_weight: float or schedule of `step`; the paper lets it rise.

    Raises:
        ValueError: if a network is no Keras layer, the head ends in a softmax or a sigmoid, or a weight is negative.

    Example:

    ```python
    model = kt.models.PiModel(encoder, head, consistency_weight=10.0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.labelled_and_unlabelled((x, y), x_unlabelled, weak, strong), epochs=10, shuffle=False)
    ```

    Departs: the two views are those of unlabelled rows alone; the paper has two of labelled ones too.

    Reference:
        Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017, arXiv:1610.02242, algorithm 1.
    """

    streams = ("labelled", "unlabelled_weak", "unlabelled_strong")

    def __init__(self, encoder, head, consistency_weight=10.0, **kwargs):
        consistency_weight = check_weight(consistency_weight, "consistency_weight")
        super().__init__({"task": 1.0, "consistency": consistency_weight}, encoder, head, **kwargs)
        self.consistency_weight = consistency_weight

    def forward(self, x, training=False):
        """Returns the predictions of the labelled rows and of both views."""
        logits = self.classify(*(x[stream] for stream in self.streams), training=training)
        return dict(zip(("prediction", "weak", "strong"), logits))

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `consistency`."""
        weak, strong = (ops.softmax(ops.cast(outputs[view], "float32")) for view in ("weak", "strong"))
        self.log_agreement(weak, strong)
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "consistency": ops.mean(ops.sum(ops.square(weak - strong), axis=-1)),
        }
