"""SimSiam: each view predicts the other, whose side gets no gradient."""

import keras

from keras_transfer.batches import check_no_labels
from keras_transfer.losses.negative_cosine import negative_cosine
from keras_transfer.model import TransferModel
from keras_transfer.models.selfsupervised.shared import project_views
from keras_transfer.networks import check_networks, run_pair


@keras.saving.register_keras_serializable(package="keras_transfer")
class SimSiam(TransferModel):
    """Learns an encoder from unlabelled images with neither negatives nor a teacher.

    z          = projector(encoder(view)),   p = predictor(z)
    similarity = -(mean of cos(p_1, z_2) + mean of cos(p_2, z_1)) / 2,   without a gradient to z there

    It can collapse to one point for all images, and shows that by a `similarity` of -1 at once: watch it with
    `kt.callbacks.CollapseMonitor`. BatchNormalization in the projector, the predictor smaller than its input, and SGD
    keep it from that.

    Args:
        encoder: network from an image to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`; in the paper BatchNormalization is its last layer.
        predictor: network from `(batch, projected)` to the same shape, a bottleneck.

    Raises:
        ValueError: if a network is no Keras layer; in training if labels come with the views or these differ in shape.

    Example:

    ```python
    model = kt.models.SimSiam(encoder, projector, predictor)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    augment = kt.layers.contrastive_views(image_size)  # colours change too; channels=1 for grey images
    model.fit(kt.streams.views(images, augment), epochs=20, shuffle=False)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: both views go through the networks in one pass, normalised by shared statistics.

    Reference:
        Chen and He, Exploring Simple Siamese Representation Learning, CVPR 2021, arXiv:2011.10566.
    """

    streams = ("view_1", "view_2")

    def __init__(self, encoder, projector, predictor, **kwargs):
        check_networks(encoder=encoder, projector=projector, predictor=predictor)
        super().__init__({"similarity": 1.0}, **kwargs)
        self.encoder, self.projector, self.predictor = encoder, projector, predictor

    def forward(self, x, training=False):
        """Returns the projections and the predictions of both views."""
        projected = project_views(self.encoder, self.projector, x, training)
        predictions = run_pair(self.predictor, projected["view_1"], projected["view_2"], training=training)
        return {**projected, "prediction_1": predictions[0], "prediction_2": predictions[1]}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `similarity`."""
        check_no_labels(self, y)
        first = negative_cosine(outputs["prediction_1"], outputs["view_2"])
        return {"similarity": (first + negative_cosine(outputs["prediction_2"], outputs["view_1"])) / 2.0}
