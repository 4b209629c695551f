"""Pseudo-Label: the class that a model is sure of counts as the label of a row without one."""

import keras
from keras import ops

from keras_transfer.checks import check_number, check_weight
from keras_transfer.models.semisupervised.shared import SemiSupervised, cross_entropy, probabilities


@keras.saving.register_keras_serializable(package="keras_transfer")
class PseudoLabel(SemiSupervised):
    """Trains on labelled rows, and on unlabelled ones as if the class that is predicted for them were the right one.

    task         = loss(y, head(encoder(labelled)))
    pseudo_label = mean over unlabelled rows of [max p > threshold] -log p_c,  c = argmax p
    total        = task + pseudo_label_weight * pseudo_label

    `share_sure` and `pseudo_label_entropy` are logged: where few classes take all pseudo-labels, the model confirms its
    own errors.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        pseudo_label_weight: float or schedule of `step`; the paper lets it rise, as `kt.schedules.DannRamp` does.
        threshold: float from 0 to 1, above which a row counts; 0 counts all, as in the paper.

    Raises:
        ValueError: if a network is no Keras layer, the head ends in a softmax or a sigmoid, or a number is out of
            range.

    Example:

    ```python
    model = kt.models.PseudoLabel(encoder, head, pseudo_label_weight=kt.schedules.DannRamp(1000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    stream = kt.streams.labelled_and_unlabelled((x, y), x_unlabelled, weak=augment)
    model.fit(stream, epochs=10, shuffle=False)
    ```

    Reference:
        Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks, ICML
        Workshop 2013.
    """

    streams = ("labelled", "unlabelled")

    def __init__(self, encoder, head, pseudo_label_weight=1.0, threshold=0.95, **kwargs):
        pseudo_label_weight = check_weight(pseudo_label_weight, "pseudo_label_weight")
        super().__init__({"task": 1.0, "pseudo_label": pseudo_label_weight}, encoder, head, **kwargs)
        self.pseudo_label_weight = pseudo_label_weight
        self.threshold = check_number(threshold, "threshold", least=0, below=1)

    def forward(self, x, training=False):
        """Returns the predictions of both streams."""
        prediction, unlabelled = self.classify(*(x[stream] for stream in self.streams), training=training)
        return {"prediction": prediction, "unlabelled": unlabelled}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `pseudo_label`."""
        p = probabilities(outputs["unlabelled"])
        labels, sure = ops.argmax(p, axis=-1), ops.cast(ops.max(p, axis=-1) > self.threshold, "float32")
        self.log_pseudo_labels(labels, sure, p.shape[-1])
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "pseudo_label": ops.mean(sure * cross_entropy(labels, outputs["unlabelled"])),
        }
