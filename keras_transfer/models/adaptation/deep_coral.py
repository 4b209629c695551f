"""Deep CORAL: features whose covariance is the same in both domains."""

import keras

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.losses.coral import coral
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import encode_domains
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

    def __init__(self, encoder, head, coral_weight=1.0, passes="joint", **kwargs):
        check_networks(encoder=encoder, head=head)
        coral_weight = check_weight(coral_weight, "coral_weight")
        super().__init__({"task": 1.0, "coral": coral_weight}, **kwargs)
        self.encoder, self.head = encoder, head
        self.coral_weight, self.passes = coral_weight, check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns the source prediction and the features of both domains."""
        return encode_domains(self.encoder, self.head, x, self.passes, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `coral`."""
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "coral": coral(all_rows(outputs["source"]), all_rows(outputs["target"])),
        }
