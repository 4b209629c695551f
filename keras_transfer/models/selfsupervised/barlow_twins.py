"""Barlow Twins: features that agree between two views and say nothing twice."""

import keras

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_weight
from keras_transfer.losses.barlow_twins import barlow_twins
from keras_transfer.model import TransferModel
from keras_transfer.models.selfsupervised.shared import project_views
from keras_transfer.networks import all_rows, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class BarlowTwins(TransferModel):
    """Learns an encoder from unlabelled images by making the cross-correlation of two views the identity.

    C          = cross-correlation over the batch of projector(encoder(view_1)) and projector(encoder(view_2))
    invariance = sum over d of (1 - C_dd)^2
    redundancy = sum over d != e of C_de^2
    total      = invariance + redundancy_weight * redundancy

    Wide projections help. What is served and exported is the encoder. Under several replicas C is that of the global
    batch.

    Args:
        encoder: network from an image to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`.
        redundancy_weight: float or schedule, the weight of `redundancy`.

    Raises:
        ValueError: if a network is no Keras layer or the weight is negative or no number; in training if labels come
            with the views, or these differ in shape or have one row only.

    Example:

    ```python
    model = kt.models.BarlowTwins(encoder, projector)
    model.compile("adam")
    augment = kt.layers.contrastive_views(image_size)  # colours change too; channels=1 for grey images
    model.fit(kt.streams.views(images, augment), epochs=20, shuffle=False)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: both views go through the networks in one pass, normalised by shared statistics.

    Reference:
        Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML 2021, arXiv:2103.03230.
    """

    streams = ("view_1", "view_2")

    def __init__(self, encoder, projector, redundancy_weight=5e-3, **kwargs):
        check_networks(encoder=encoder, projector=projector)
        redundancy_weight = check_weight(redundancy_weight, "redundancy_weight")
        super().__init__({"invariance": 1.0, "redundancy": redundancy_weight}, **kwargs)
        self.encoder, self.projector, self.redundancy_weight = encoder, projector, redundancy_weight

    def forward(self, x, training=False):
        """Returns the projections of both views."""
        return project_views(self.encoder, self.projector, x, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `invariance` and `redundancy`."""
        check_no_labels(self, y)
        parts = barlow_twins(all_rows(outputs["view_1"]), all_rows(outputs["view_2"]))
        return dict(zip(("invariance", "redundancy"), parts))
