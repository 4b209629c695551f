"""CDAN: a discriminator that sees the features together with the classes predicted from them."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_flag, check_weight
from keras_transfer.layers.gradient_reversal import GradientReversal
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import (
    check_one_logit,
    check_target_terms,
    domain_loss,
    run_domains,
    target_losses,
    weights,
)
from keras_transfer.networks import PASSES, all_rows, check_logits, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class CDAN(TransferModel):
    """Adapts a classifier to an unlabelled domain, class by class, against a domain discriminator.

    task   = loss(y, head(f_source))
    domain = 1/2 (mean w -log(1 - d_source) + mean w -log d_target),   d = sigmoid(discriminator(reverse(f) x p))
    w      = 1 + exp(-H(p)), divided by its mean over the domain;   p = softmax(head(f)),  H: entropy
    total  = task + domain_weight * domain

    The discriminator reads all products of a feature and a probability, so that it tells the domains apart within each
    class; sure predictions count up to twice. Behind the reversal the encoder maximises `domain`; `kt.models.DANN` says
    how to read the term.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, not probabilities.
        discriminator: network from `(batch, dim * classes)` to one logit `(batch, 1)`, without a sigmoid: source is 0,
            target is 1.
        reversal: float or schedule, the strength of the reversed gradient; best a `kt.schedules.DannRamp`.
        domain_weight: float or schedule, the weight of `domain`.
        entropy_conditioning: bool, whether rows count by `w`, CDAN+E in the paper; otherwise all the same.
        passes: `"separate"`: each domain goes through the networks by itself and is normalised by its own statistics,
            while the moving averages, which serve, mix both. `"joint"`: one pass, BatchNormalization shares its
            statistics between the domains.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, head or discriminator end in a softmax or a sigmoid, the
            discriminator is built for another width, a weight is negative or no number, or `passes` is neither.

    Example:

    ```python
    last = [keras.layers.Dense(100, "relu"), keras.layers.Dense(1)]
    discriminator = keras.Sequential([keras.Input((dim * classes,)), *last])
    model = kt.models.CDAN(encoder, head, discriminator, reversal=kt.schedules.DannRamp(steps=2000, peak=0.3))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: no random projection of the products, which the paper takes above 4,096 of them (begin the discriminator
    with one); no gradient through `p` and `w`; separate passes by default.

    Reference:
        Long, Cao, Wang and Jordan, Conditional Adversarial Domain Adaptation, NeurIPS 2018, arXiv:1705.10667.
    """

    streams = ("source", "target")

    def __init__(
        self,
        encoder,
        head,
        discriminator,
        reversal=0.3,
        domain_weight=1.0,
        entropy_conditioning=True,
        passes="separate",
        target_terms=None,
        **kwargs,
    ):
        check_networks(encoder=encoder, head=head, discriminator=discriminator)
        check_logits(head, "head")
        check_logits(discriminator, "discriminator")
        domain_weight = check_weight(domain_weight, "domain_weight")
        target_terms = check_target_terms(target_terms, head, ("domain",))
        super().__init__({"task": 1.0, "domain": domain_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.discriminator = encoder, head, discriminator
        self.reversal, self.domain_weight = check_weight(reversal, "reversal"), domain_weight
        self.entropy_conditioning = check_flag(entropy_conditioning, "entropy_conditioning")
        self.passes, self.target_terms = check_choice(passes, "passes", PASSES), target_terms
        self.reverse = GradientReversal()

    def forward(self, x, training=False):
        """Returns predictions, features and domain logits of both domains."""
        strength = self.now(self.reversal)

        def tell(features, prediction):
            p = ops.stop_gradient(ops.softmax(prediction))
            products = self.reverse(features, strength=strength)[:, :, None] * p[:, None, :]
            products = ops.reshape(products, (-1, features.shape[1] * p.shape[1]))
            known = getattr(self.discriminator, "input_shape", None)
            if isinstance(known, tuple) and known[-1] != products.shape[1]:
                raise ValueError(
                    f"Expected the discriminator {self.discriminator.name!r} to take dim * classes = "
                    f"{products.shape[1]} values; received one that takes {known[-1]}."
                )
            told = self.discriminator(products, training=training)
            return check_one_logit(told, self.discriminator)

        return run_domains(self.encoder, self.head, x, self.passes, training, tell)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `domain` and the terms of the target's predictions."""
        names = ("prediction", "target_prediction")
        certainty = [_certainty(outputs[name]) if self.entropy_conditioning else 1.0 for name in names]
        domain = domain_loss(outputs["source_domain"], outputs["target_domain"], *certainty)
        task = self.task_loss(y, outputs["prediction"], sample_weight)
        return {"task": task, "domain": domain, **target_losses(self.target_terms, outputs)}


def _certainty(logits):
    """What each row counts, `(rows, 1)`: 1 + exp(-entropy), by its mean over the global batch."""
    log_p = ops.log_softmax(ops.stop_gradient(ops.cast(logits, "float32")))
    weight = 1.0 + ops.exp(ops.sum(ops.exp(log_p) * log_p, axis=-1, keepdims=True))
    return weight / ops.mean(all_rows(weight))
