"""TargetTerms: a classifier whose predictions on the other domain are asked to be sure and diverse."""

import keras

from keras_transfer.checks import check_choice
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class TargetTerms(TransferModel):
    """Adapts a classifier to an unlabelled domain by terms of its predictions there; no features are aligned.

    task  = loss(y, head(f_source))
    total = task + sum over terms of weight * term(head(f_target))

    On features of a pretrained backbone that each domain's own mean and deviation standardise, one of these terms does
    more than any alignment of the features that was tried (`docs/adaptation.md`).

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        target_terms: dict of names to pairs of a loss of logits and its weight, a float or a schedule:
            `kt.losses.MCC()`, `kt.losses.negative_information`, `kt.losses.negative_nuclear_norm`,
            `kt.losses.prediction_entropy`, or a function of yours, registered with Keras. Without any it is training
            on the source alone, on the same stream.
        passes: `"joint"`: both domains go through the networks in one pass, BatchNormalization shares its statistics
            between them. `"separate"`: one pass each, every domain normalised by its own statistics while the moving
            averages, which serve, mix both.

    Raises:
        ValueError: if a network is no Keras layer, `target_terms` is no such dict, the head ends in a softmax or a
            sigmoid, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.TargetTerms(encoder, head, {"mcc": (kt.losses.MCC(), 1.0)})
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/photos", x_test)
    ```

    Reference:
        Jin, Wang, Long and Wang, Minimum Class Confusion for Versatile Domain Adaptation, ECCV 2020, arXiv:1912.03699,
        for MCC; the losses name theirs.
    """

    streams = ("source", "target")

    def __init__(self, encoder, head, target_terms=None, passes="joint", **kwargs):
        check_networks(encoder=encoder, head=head)
        target_terms = check_target_terms(target_terms, head)
        super().__init__({"task": 1.0, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.target_terms = encoder, head, target_terms
        self.passes = check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns predictions and features of both domains."""
        return run_domains(self.encoder, self.head, x, self.passes, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and the terms of the target's predictions."""
        task = self.task_loss(y, outputs["prediction"], sample_weight)
        return {"task": task, **target_losses(self.target_terms, outputs)}
