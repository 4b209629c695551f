"""VICReg: views that agree, features that vary, and no two that vary together."""

import keras

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_weight
from keras_transfer.losses.vicreg import vicreg
from keras_transfer.model import TransferModel
from keras_transfer.models.selfsupervised.shared import project_views
from keras_transfer.networks import all_rows, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class VICReg(TransferModel):
    """Learns an encoder from unlabelled images; each way to collapse has a term of its own against it.

    z          = projector(encoder(view))
    invariance = mean over rows and features of (z_1 - z_2)^2
    variance   = mean over features of max(0, 1 - standard deviation),   mean of the two views
    covariance = sum over d != e of Cov(z)_de^2 / dim,   sum of the two views
    total      = invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance

    Wide projections help. What is served and exported is the encoder. Under several replicas variances and covariances
    are those of the global batch.

    Args:
        encoder: network from an image to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`; nothing after its last Dense layer.
        invariance_weight: float or schedule.
        variance_weight: float or schedule.
        covariance_weight: float or schedule.

    Raises:
        ValueError: if a network is no Keras layer or a weight is negative or no number; in training if labels come with
            the views, or these differ in shape or have one row only.

    Example:

    ```python
    model = kt.models.VICReg(encoder, projector)
    model.compile("adam")
    augment = kt.layers.contrastive_views(image_size)  # colours change too; channels=1 for grey images
    model.fit(kt.streams.views(images, augment), epochs=20, shuffle=False)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: both views go through the networks in one pass, normalised by shared statistics.

    Reference:
        Bardes, Ponce and LeCun, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning,
        ICLR 2022, arXiv:2105.04906.
    """

    streams = ("view_1", "view_2")

    def __init__(
        self, encoder, projector, invariance_weight=25.0, variance_weight=25.0, covariance_weight=1.0, **kwargs
    ):
        weights = {"invariance": invariance_weight, "variance": variance_weight, "covariance": covariance_weight}
        check_networks(encoder=encoder, projector=projector)
        weights = {name: check_weight(weight, f"{name}_weight") for name, weight in weights.items()}
        super().__init__(weights, **kwargs)
        self.encoder, self.projector = encoder, projector
        self.invariance_weight, self.variance_weight = weights["invariance"], weights["variance"]
        self.covariance_weight = weights["covariance"]

    def forward(self, x, training=False):
        """Returns the projections of both views."""
        return project_views(self.encoder, self.projector, x, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `invariance`, `variance` and `covariance`."""
        check_no_labels(self, y)
        parts = vicreg(all_rows(outputs["view_1"]), all_rows(outputs["view_2"]))
        return dict(zip(("invariance", "variance", "covariance"), parts))
