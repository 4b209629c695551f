"""WDGRL: features whose Wasserstein distance between the domains, as a critic estimates it, is small."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.gradients import gradient
from keras_transfer.layers.gradient_reversal import GradientReversal
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import (
    check_one_logit,
    check_target_terms,
    run_domains,
    target_losses,
    weights,
)
from keras_transfer.networks import PASSES, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class WDGRL(TransferModel):
    """Adapts a classifier to an unlabelled domain by the Wasserstein distance of its features, as a critic sees it.

    task      = loss(y, head(f_source))
    closeness = -(mean c(reverse(f_source)) - mean c(reverse(f_target))),   c: the critic
    penalty   = mean over rows of (|gradient of c at f| - 1)^2,   f: source, target and points between them
    total     = task + closeness_weight * closeness + penalty_weight * penalty

    The critic minimises `closeness`: minus it is the distance, as far as the penalty keeps the critic's slope at 1.
    Behind the gradient reversal the encoder maximises it, `reversal` times as strongly.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction, logits `(batch, classes)`.
        critic: network from features to one number `(batch, 1)`, without an activation at its end.
        reversal: float or schedule, the strength of the reversed gradient; best a `kt.schedules.DannRamp`.
        closeness_weight: float or schedule, the weight of `closeness`.
        penalty_weight: float or schedule, the weight of `penalty`.
        passes: `"separate"`: each domain goes through the networks by itself and is normalised by its own statistics,
            while the moving averages, which serve, mix both. `"joint"`: one pass, BatchNormalization shares its
            statistics between the domains.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, a weight is negative or no number, or `passes` is neither of the
            two.

    Example:

    ```python
    model = kt.models.WDGRL(encoder, head, critic, reversal=kt.schedules.DannRamp(steps=2000, peak=0.1))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: the critic makes one step for each of the encoder, where the paper's makes five: a gradient reversal. To
    keep it ahead, give it a higher rate (`keras.optimizers.MultiOptimizer`) or the encoder a weaker reversal.

    Reference:
        Shen, Qu, Zhang and Yu, Wasserstein Distance Guided Representation Learning for Domain Adaptation, AAAI 2018,
        arXiv:1707.01217.
    """

    streams = ("source", "target")

    def __init__(
        self,
        encoder,
        head,
        critic,
        reversal=0.1,
        closeness_weight=1.0,
        penalty_weight=10.0,
        passes="separate",
        target_terms=None,
        **kwargs,
    ):
        check_networks(encoder=encoder, head=head, critic=critic)
        closeness_weight = check_weight(closeness_weight, "closeness_weight")
        penalty_weight = check_weight(penalty_weight, "penalty_weight")
        target_terms = check_target_terms(target_terms, head, ("closeness", "penalty"))
        terms = {"task": 1.0, "closeness": closeness_weight, "penalty": penalty_weight, **weights(target_terms)}
        super().__init__(terms, **kwargs)
        self.encoder, self.head, self.critic, self.target_terms = encoder, head, critic, target_terms
        self.reversal, self.closeness_weight = check_weight(reversal, "reversal"), closeness_weight
        self.penalty_weight, self.passes = penalty_weight, check_choice(passes, "passes", PASSES)
        self.reverse, self.seed_generator = GradientReversal(), keras.random.SeedGenerator()

    def forward(self, x, training=False):
        """Returns predictions and features of both domains, what the critic says of them, and its slopes."""
        strength = self.now(self.reversal)

        def told(features):
            return check_one_logit(self.critic(features, training=training), self.critic, "critic")

        def tell(features, prediction):
            return told(self.reverse(features, strength=strength))

        outputs = run_domains(self.encoder, self.head, x, self.passes, training, tell, "told")
        points = self._points(*(ops.stop_gradient(outputs[domain]) for domain in ("source", "target")))
        slopes = gradient(lambda at: ops.sum(ops.cast(told(at[0]), "float32")), [points])[0]
        slope = ops.sqrt(ops.sum(ops.square(ops.cast(slopes, "float32")), axis=-1) + 1e-12)
        return {**outputs, "slope": slope}

    def _points(self, source, target):
        """Rows of both domains, and points drawn on the lines between."""
        sizes = ops.shape(source)[0], ops.shape(target)[0]
        rows = min(sizes) if all(isinstance(size, int) for size in sizes) else ops.minimum(*sizes)
        share = keras.random.uniform((rows, 1), dtype=source.dtype, seed=self.seed_generator)
        between = share * source[:rows] + (1.0 - share) * target[:rows]
        return ops.concatenate([source, target, between])

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `closeness`, `penalty` and the terms of the target's predictions."""
        source, target = (ops.mean(ops.cast(outputs[f"{d}_told"], "float32")) for d in ("source", "target"))
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "closeness": target - source,
            "penalty": ops.mean(ops.square(outputs["slope"] - 1.0)),
            **target_losses(self.target_terms, outputs),
        }
