"""DAN: features whose distribution is the same in both domains, measured by the maximum mean discrepancy."""

import keras

from keras_transfer.checks import check_choice, check_weight
from keras_transfer.losses.mmd import mmd
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, all_rows, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class DAN(TransferModel):
    """Adapts a classifier to an unlabelled domain by minimising the maximum mean discrepancy of the features.

    task  = loss(y, head(f_source))
    mmd   = mean k(f_s, f_s') + mean k(f_t, f_t') - 2 mean k(f_s, f_t),   k: Gaussians of five bandwidths (`losses.mmd`)
    total = task + mmd_weight * mmd

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction, logits `(batch, classes)`.
        mmd_weight: float or schedule, the weight of `mmd`, which is at most 2.
        passes: `"joint"`: both domains go through the encoder in one pass, BatchNormalization shares its statistics
            between them. `"separate"`: one pass each, every domain normalised by its own statistics while the moving
            averages, which serve, mix both.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, `mmd_weight` is negative or no number, or `passes` is neither of the
            two.

    Example:

    ```python
    model = kt.models.DAN(encoder, head, mmd_weight=kt.schedules.DannRamp(steps=2000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: one layer is aligned, the features that the head reads, where the paper aligns several; the kernels have
    equal weights; the estimator takes all pairs of the batch, of the global batch under several replicas.

    Reference:
        Long et al., Learning Transferable Features with Deep Adaptation Networks, ICML 2015, arXiv:1502.02791.
    """

    streams = ("source", "target")

    def __init__(self, encoder, head, mmd_weight=1.0, passes="joint", target_terms=None, **kwargs):
        check_networks(encoder=encoder, head=head)
        mmd_weight = check_weight(mmd_weight, "mmd_weight")
        target_terms = check_target_terms(target_terms, head, ("mmd",))
        super().__init__({"task": 1.0, "mmd": mmd_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.target_terms = encoder, head, target_terms
        self.mmd_weight, self.passes = mmd_weight, check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns predictions and features of both domains."""
        return run_domains(self.encoder, self.head, x, self.passes, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `mmd` and the terms of the target's predictions."""
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "mmd": mmd(all_rows(outputs["source"]), all_rows(outputs["target"])),
            **target_losses(self.target_terms, outputs),
        }
