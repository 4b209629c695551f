"""Deep CORAL: features whose covariance is the same in both domains."""

import keras

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.losses.coral import coral
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, all_rows, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class DeepCORAL(TransferModel):
    """Adapts a classifier to an unlabelled domain by aligning the covariances of the features.

    task  = loss(y, head(f_source))
    coral = ||cov(f_source) - cov(f_target)||_F^2 / (4 dim^2)
    total = task + coral_weight * coral

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction, logits `(batch, classes)`.
        coral_weight: float or schedule, the weight of `coral`. The division by `4 dim^2` makes it small: for features
            of about unit variance expect weights from 1 to 1000, more for wider features.
        passes: `"joint"`: both domains go through the encoder in one pass, BatchNormalization shares its statistics
            between them. `"separate"`: one pass each, every domain normalised by its own statistics while the moving
            averages, which serve, mix both.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, `coral_weight` is negative or no number, or `passes` is neither of
            the two.

    Example:

    ```python
    model = kt.models.DeepCORAL(encoder, head, coral_weight=kt.schedules.DannRamp(steps=2000, peak=100.0))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: the paper aligns the logits of the last layer; here it is the features that the head reads. Under several
    replicas the covariance is that of the global batch.

    Reference:
        Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV Workshops 2016,
        arXiv:1607.01719.
    """

    streams = ("source", "target")

    def __init__(self, encoder, head, coral_weight=1.0, passes="joint", target_terms=None, **kwargs):
        check_networks(encoder=encoder, head=head)
        coral_weight = check_weight(coral_weight, "coral_weight")
        target_terms = check_target_terms(target_terms, head, ("coral",))
        super().__init__({"task": 1.0, "coral": coral_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.target_terms = encoder, head, target_terms
        self.coral_weight, self.passes = coral_weight, check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns predictions and features of both domains."""
        return run_domains(self.encoder, self.head, x, self.passes, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `coral` and the terms of the target's predictions."""
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "coral": coral(all_rows(outputs["source"]), all_rows(outputs["target"])),
            **target_losses(self.target_terms, outputs),
        }
