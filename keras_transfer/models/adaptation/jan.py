"""JAN: features and predictions whose joint distribution is the same in both domains."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.losses.mmd import joint_mmd
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, all_rows, check_logits, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class JAN(TransferModel):
    """Adapts a classifier to an unlabelled domain by the joint maximum mean discrepancy of features and predictions.

    task      = loss(y, head(f_source))
    joint_mmd = the maximum mean discrepancy under the product of a kernel of f and one of p = softmax(head(f))
    total     = task + mmd_weight * joint_mmd

    Unlike `kt.models.DAN` it asks that what is predicted goes with the same features in both domains.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        mmd_weight: float or schedule, the weight of `joint_mmd`, which is at most 2.
        passes: `"joint"`: both domains go through the encoder in one pass, BatchNormalization shares its statistics
            between them. `"separate"`: one pass each, every domain normalised by its own statistics while the moving
            averages, which serve, mix both.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, the head ends in a softmax or a sigmoid, `mmd_weight` is negative or
            no number, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.JAN(encoder, head, mmd_weight=kt.schedules.DannRamp(steps=2000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: all pairs of the batch, of the global batch under several replicas, where the paper has an estimator of
    linear time; the same bandwidths, by the median, for features and predictions.

    Reference:
        Long, Zhu, Wang and Jordan, Deep Transfer Learning with Joint Adaptation Networks, ICML 2017, arXiv:1605.06636.
    """

    streams = ("source", "target")

    def __init__(self, encoder, head, mmd_weight=1.0, passes="joint", target_terms=None, **kwargs):
        check_networks(encoder=encoder, head=head)
        check_logits(head, "head")
        mmd_weight = check_weight(mmd_weight, "mmd_weight")
        target_terms = check_target_terms(target_terms, head, ("joint_mmd",))
        super().__init__({"task": 1.0, "joint_mmd": mmd_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.target_terms = encoder, head, target_terms
        self.mmd_weight, self.passes = mmd_weight, check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns predictions and features of both domains."""
        return run_domains(self.encoder, self.head, x, self.passes, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `joint_mmd` and the terms of the target's predictions."""

        def layers(features, prediction):
            p = ops.softmax(ops.cast(outputs[prediction], "float32"))
            return [all_rows(outputs[features]), all_rows(p)]

        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "joint_mmd": joint_mmd(layers("source", "prediction"), layers("target", "target_prediction")),
            **target_losses(self.target_terms, outputs),
        }
