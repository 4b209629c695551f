"""DANN: features by which a discriminator cannot tell the domains apart."""

import keras

from keras_transfer.checks import check_choice, check_weight
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
from keras_transfer.networks import PASSES, check_logits, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class DANN(TransferModel):
    """Adapts a classifier to an unlabelled domain by training the encoder against a domain discriminator.

    task   = loss(y, head(f_source))
    domain = 1/2 (mean -log(1 - d(f_source)) + mean -log d(f_target)),   d = sigmoid(discriminator(reverse(f)))
    total  = task + domain_weight * domain

    The discriminator minimises `domain`; behind the gradient reversal the encoder maximises it, `reversal` times as
    strongly. A `domain_term` of log 2 = 0.693 says that the discriminator does not tell the domains apart. That is the
    aim where the features still serve the task and the discriminator could tell domains that differ: with `reversal=0`
    the term should fall well below. Otherwise it is a discriminator that does not learn, which is no success: of too
    high a rate or too strong a reversal, of dead units, of features that have collapsed.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction, logits `(batch, classes)`.
        discriminator: network from features to one logit `(batch, 1)`, without a sigmoid: source is 0, target is 1.
        reversal: float or schedule, the strength of the reversed gradient; best a `kt.schedules.DannRamp` with a peak
            of 0.3. At the paper's peak of 1 the encoder outruns the discriminator: the term then starts above log 2.
        domain_weight: float or schedule, the weight of `domain`.
        passes: `"separate"`: each domain goes through the networks by itself and is normalised by its own statistics,
            while the moving averages, which serve, mix both. `"joint"`: one pass, BatchNormalization shares its
            statistics between the domains; the encoder can then hide them from the discriminator, and the classes too.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, the discriminator ends in a sigmoid, `reversal` or `domain_weight`
            is negative or no number, or `passes` is neither of the two.

    Example:

    ```python
    model = kt.models.DANN(encoder, head, discriminator, reversal=kt.schedules.DannRamp(steps=2000, peak=0.3))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: separate passes and a weaker reversal by default (`passes="joint"` and a peak of 1 in the paper); the two
    domains weigh the same whatever their batch sizes.

    Reference:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, arXiv:1505.07818.
    """

    streams = ("source", "target")

    def __init__(
        self,
        encoder,
        head,
        discriminator,
        reversal=0.3,
        domain_weight=1.0,
        passes="separate",
        target_terms=None,
        **kwargs,
    ):
        check_networks(encoder=encoder, head=head, discriminator=discriminator)
        check_logits(discriminator, "discriminator")
        domain_weight = check_weight(domain_weight, "domain_weight")
        target_terms = check_target_terms(target_terms, head, ("domain",))
        super().__init__({"task": 1.0, "domain": domain_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.discriminator = encoder, head, discriminator
        self.reversal, self.domain_weight = check_weight(reversal, "reversal"), domain_weight
        self.passes, self.target_terms = check_choice(passes, "passes", PASSES), target_terms
        self.reverse = GradientReversal()

    def forward(self, x, training=False):
        """Returns predictions, features and domain logits of both domains."""
        strength = self.now(self.reversal)

        def tell(features, prediction):
            told = self.discriminator(self.reverse(features, strength=strength), training=training)
            return check_one_logit(told, self.discriminator)

        return run_domains(self.encoder, self.head, x, self.passes, training, tell)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `domain` and the terms of the target's predictions."""
        domain = domain_loss(outputs["source_domain"], outputs["target_domain"])
        task = self.task_loss(y, outputs["prediction"], sample_weight)
        return {"task": task, "domain": domain, **target_losses(self.target_terms, outputs)}
