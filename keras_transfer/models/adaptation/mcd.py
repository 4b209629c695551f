"""MCD: two heads that disagree where the target lies beyond the source, and an encoder that brings it back."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.layers.gradient_reversal import GradientReversal
from keras_transfer.losses.checks import check_predictions
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, check_logits, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class MCD(TransferModel):
    """Adapts a classifier to an unlabelled domain by the disagreement of two heads, without a discriminator.

    task        = loss(y, head(f_source)),   second_task = loss(y, second_head(f_source))
    agreement   = -mean over target rows of sum_c |p_c - q_c|,   p, q: softmax of both heads on reverse(f_target)
    total       = task + second_task + agreement_weight * agreement

    The heads minimise `agreement`: they stay right on the source and disagree on the target as far as they can, at most
    by 2 a row. Behind the gradient reversal the encoder maximises it, `reversal` times as strongly: it moves the target
    to where both agree. `head` is what is served.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        second_head: another such network, with other weights at the start.
        reversal: float or schedule, the strength of the reversed gradient.
        agreement_weight: float or schedule, the weight of `agreement`; best a ramp, while the heads learn the source.
        passes: `"separate"`: each domain goes through the networks by itself and is normalised by its own statistics,
            while the moving averages, which serve, mix both. `"joint"`: one pass, BatchNormalization shares its
            statistics between the domains.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, a head ends in a softmax or a sigmoid, both heads have the same
            weights, a weight is negative or no number, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.MCD(encoder, head, second_head, agreement_weight=kt.schedules.DannRamp(steps=2000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: the paper's three steps, of which the last moves the encoder up to four times, are one step here through a
    gradient reversal; the distance of two predictions is the sum over classes, where the authors' program takes the
    mean, by which the term vanishes with the number of classes. `head` alone is served.

    Reference:
        Saito, Watanabe, Ushiku and Harada, Maximum Classifier Discrepancy for Unsupervised Domain Adaptation, CVPR
        2018, arXiv:1712.02560.
    """

    streams = ("source", "target")

    def __init__(
        self,
        encoder,
        head,
        second_head,
        reversal=1.0,
        agreement_weight=1.0,
        passes="separate",
        target_terms=None,
        **kwargs,
    ):
        check_networks(encoder=encoder, head=head, second_head=second_head)
        check_logits(head, "head")
        check_logits(second_head, "second_head")
        same = [w.shape for w in head.weights] == [w.shape for w in second_head.weights] and all(
            np.array_equal(a, b) for a, b in zip(head.get_weights(), second_head.get_weights())
        )
        if head.built and second_head.built and same:
            raise ValueError("Expected two heads with weights of their own, which can disagree; received equal ones.")
        agreement_weight = check_weight(agreement_weight, "agreement_weight")
        target_terms = check_target_terms(target_terms, head, ("second_task", "agreement"))
        terms = {"task": 1.0, "second_task": 1.0, "agreement": agreement_weight, **weights(target_terms)}
        super().__init__(terms, **kwargs)
        self.encoder, self.head, self.second_head, self.target_terms = encoder, head, second_head, target_terms
        self.reversal, self.agreement_weight = check_weight(reversal, "reversal"), agreement_weight
        self.passes, self.reverse = check_choice(passes, "passes", PASSES), GradientReversal()

    def forward(self, x, training=False):
        """Returns predictions and features of both domains, and both heads' answers to the reversed target."""
        outputs = run_domains(self.encoder, self.head, x, self.passes, training)
        reversed_target = self.reverse(outputs["target"], strength=self.now(self.reversal))
        return {
            **outputs,
            "second_prediction": self.second_head(outputs["source"], training=training),
            "first_view": self.head(reversed_target, training=training),
            "second_view": self.second_head(reversed_target, training=training),
        }

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `second_task`, `agreement` and the terms of the target's predictions."""
        check_predictions(outputs["first_view"])
        p, q = (ops.softmax(ops.cast(outputs[name], "float32")) for name in ("first_view", "second_view"))
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "second_task": self.task_loss(y, outputs["second_prediction"], sample_weight),
            "agreement": -ops.mean(ops.sum(ops.abs(p - q), axis=-1)),
            **target_losses(self.target_terms, outputs),
        }
