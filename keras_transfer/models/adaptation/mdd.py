"""MDD: an adversarial head that agrees with the classifier on the source and with nothing it says on the target."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_number, check_weight
from keras_transfer.layers.gradient_reversal import GradientReversal
from keras_transfer.losses.checks import check_predictions
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, check_logits, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class MDD(TransferModel):
    """Adapts a classifier to an unlabelled domain by the margin disparity discrepancy of its features.

    task      = loss(y, head(f_source))
    disparity = margin * mean -log q_s[argmax head(f_s)] + mean -log(1 - q_t[argmax head(f_t)])
    q         = softmax(adversary(reverse(f)))
    total     = task + disparity_weight * disparity

    The adversary minimises `disparity`: it says what the head says on the source, and anything else on the target.
    Behind the gradient reversal the encoder maximises it. Where the target looks like the source, the adversary cannot
    do both.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        adversary: another network from features to logits of the same classes.
        reversal: float or schedule, the strength of the reversed gradient; in the authors' program it rises to 0.1.
        disparity_weight: float or schedule, the weight of `disparity`.
        margin: float above 0, how much the source counts against the target: the exponential of the paper's margin.
        passes: `"separate"`: each domain goes through the networks by itself and is normalised by its own statistics,
            while the moving averages, which serve, mix both. `"joint"`: one pass, BatchNormalization shares its
            statistics between the domains.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, head or adversary end in a softmax or a sigmoid, a weight or the
            margin is out of range, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.MDD(encoder, head, adversary, reversal=kt.schedules.DannRamp(steps=2000, peak=0.1))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: separate passes by default.

    Reference:
        Zhang, Liu, Long and Jordan, Bridging Theory and Algorithm for Domain Adaptation, ICML 2019, arXiv:1904.05801.
    """

    streams = ("source", "target")

    def __init__(
        self,
        encoder,
        head,
        adversary,
        reversal=0.1,
        disparity_weight=1.0,
        margin=4.0,
        passes="separate",
        target_terms=None,
        **kwargs,
    ):
        check_networks(encoder=encoder, head=head, adversary=adversary)
        check_logits(head, "head")
        check_logits(adversary, "adversary")
        disparity_weight = check_weight(disparity_weight, "disparity_weight")
        target_terms = check_target_terms(target_terms, head, ("disparity",))
        super().__init__({"task": 1.0, "disparity": disparity_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.adversary, self.target_terms = encoder, head, adversary, target_terms
        self.reversal, self.disparity_weight = check_weight(reversal, "reversal"), disparity_weight
        self.margin = check_number(margin, "margin", above=0)
        self.passes, self.reverse = check_choice(passes, "passes", PASSES), GradientReversal()

    def forward(self, x, training=False):
        """Returns predictions and features of both domains, and the adversary's answers to both."""
        strength = self.now(self.reversal)

        def tell(features, prediction):
            return self.adversary(self.reverse(features, strength=strength), training=training)

        return run_domains(self.encoder, self.head, x, self.passes, training, tell, "against")

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `disparity` and the terms of the target's predictions."""
        check_predictions(outputs["prediction"])
        source, target = (ops.cast(outputs[f"{domain}_against"], "float32") for domain in ("source", "target"))
        said, said_of_target = (ops.argmax(outputs[name], axis=-1) for name in ("prediction", "target_prediction"))
        agrees = ops.sparse_categorical_crossentropy(said, source, from_logits=True)
        # log(1 - q) of one class: the other classes' share of all.
        others = ops.where(ops.one_hot(said_of_target, target.shape[-1], dtype="bool"), -1e9, target)
        differs = ops.logsumexp(target, axis=-1) - ops.logsumexp(others, axis=-1)
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "disparity": self.margin * ops.mean(agrees) + ops.mean(differs),
            **target_losses(self.target_terms, outputs),
        }
