"""BYOL: a student that predicts, from one view, what a slowly following teacher makes of the other."""

import keras

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_weight
from keras_transfer.losses.negative_cosine import negative_cosine
from keras_transfer.model import TransferModel
from keras_transfer.models.selfsupervised.shared import project_views
from keras_transfer.networks import check_networks, follow, follower, run_pair


@keras.saving.register_keras_serializable(package="keras_transfer")
class BYOL(TransferModel):
    """Learns an encoder from unlabelled images without negatives, so that small batches do.

    p          = predictor(projector(encoder(view))),   t = the teacher's projector(encoder(other view))
    regression = mean of 2 - 2 cos(p_1, t_2)  +  mean of 2 - 2 cos(p_2, t_1)
    teacher    = momentum * teacher + (1 - momentum) * student,   in each training step

    The teacher has BatchNormalization statistics of its own, those of its batch, and no Dropout. It is saved with the
    model and not exported: what is served is the student's encoder.

    Args:
        encoder: built network from an image to features `(batch, dim)`.
        projector: built network from features to `(batch, projected)`.
        predictor: network from `(batch, projected)` to the same shape.
        momentum: float from 0 to 1, or schedule, how much the teacher keeps; the paper's rises to 1 along a cosine.

    Raises:
        ValueError: if a network is no Keras layer, encoder or projector is not built, or the momentum is out of range;
            in training if labels come with the views or these differ in shape.

    Example:

    ```python
    momentum = kt.schedules.CosineRamp(steps, start=0.99)
    model = kt.models.BYOL(encoder, projector, predictor, momentum)
    model.compile("adam")
    augment = kt.layers.contrastive_views(image_size)  # colours change too; channels=1 for grey images
    model.fit(kt.streams.views(images, augment), epochs=20, shuffle=False)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: both views go through each network in one pass, normalised by shared statistics. Setting
    `model.trainable = True` would make the teacher learn by gradient.

    Reference:
        Grill et al., Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning, NeurIPS 2020,
        arXiv:2006.07733.
    """

    streams = ("view_1", "view_2")

    def __init__(self, encoder, projector, predictor, momentum=0.99, **kwargs):
        check_networks(encoder=encoder, projector=projector, predictor=predictor)
        super().__init__({"regression": 1.0}, **kwargs)
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.momentum = check_weight(momentum, "momentum", most=1)
        self.teacher_encoder, self.teacher_projector = follower(encoder), follower(projector)

    def forward(self, x, training=False):
        """Returns the predictions of both views and the teacher's targets."""
        student = project_views(self.encoder, self.projector, x, training)
        targets = project_views(self.teacher_encoder, self.teacher_projector, x, training)
        predictions = run_pair(self.predictor, student["view_1"], student["view_2"], training=training)
        return {
            "prediction_1": predictions[0],
            "prediction_2": predictions[1],
            "target_1": targets["view_1"],
            "target_2": targets["view_2"],
        }

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `regression`."""
        check_no_labels(self, y)
        cosines = negative_cosine(outputs["prediction_1"], outputs["target_2"])
        return {"regression": 4.0 + 2.0 * (cosines + negative_cosine(outputs["prediction_2"], outputs["target_1"]))}

    def advance(self, outputs):
        """Moves the teacher towards the student."""
        momentum = self.now(self.momentum)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_projector, self.projector, momentum)
