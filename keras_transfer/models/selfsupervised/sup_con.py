"""SupCon: features by which all views of a class find each other."""

import keras

from keras_transfer.batches import check_inputs, check_labels
from keras_transfer.checks import check_integer
from keras_transfer.losses.checks import check_temperature
from keras_transfer.model import TransferModel
from keras_transfer.models.selfsupervised.shared import contrast, project_views
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class SupCon(TransferModel):
    """Learns an encoder from labelled images: views of the same class attract, those of other classes repel each other.

    z        = projector(encoder(view)), rows scaled to length 1
    contrast = mean over the 2n views i of  log sum over j != i of exp(z_i . z_j / T)
               - mean over the views p of the same class of z_i . z_p / T

    A classifier is trained on the features after it. What is served and exported is the encoder. Both views go through
    the networks in one pass; under several replicas positives and negatives are those of the global batch.

    Args:
        encoder: network from an image to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`.
        temperature: positive float T.
        chunk_size: int, examples that go through the networks at once, for batches beyond memory; see `SimCLR`.

    Raises:
        ValueError: if a network is no Keras layer, or temperature or chunk size is not positive; in training if labels
            are missing or not `(batch,)`, the views differ in shape or have one row only, or the batch does not divide
            into chunks.

    Example:

    ```python
    model = kt.models.SupCon(encoder, projector)
    model.compile("adam")
    augment = kt.layers.contrastive_views(image_size)  # colours change too; channels=1 for grey images
    model.fit(kt.streams.views(images, augment, labels=labels), epochs=20, shuffle=False)
    kt.export(model, "saved_models/encoder", images)
    ```

    Reference:
        Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362, equation 2.
    """

    streams = ("view_1", "view_2")

    def __init__(self, encoder, projector, temperature=0.1, chunk_size=None, **kwargs):
        check_networks(encoder=encoder, projector=projector)
        super().__init__({"contrast": 1.0}, **kwargs)
        self.encoder, self.projector = encoder, projector
        self.temperature = check_temperature(temperature)
        self.chunk_size = None if chunk_size is None else check_integer(chunk_size, "chunk_size")
        self.autocast = False  # chunks hand on weights in full precision

    def forward(self, x, training=False):
        """Returns the projections of both views."""
        return project_views(self.encoder, self.projector, x, training, self.chunk_size if training else None)

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_inputs(x, self.layers)
        check_labels(y, whole=True)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `contrast`."""
        if y is None or len(y.shape) != 1:
            received = "none" if y is None else f"shape {tuple(y.shape)}"
            raise ValueError(f"Expected integer labels (batch,) beside the views; received {received}.")
        views = outputs["view_1"], outputs["view_2"]
        return {"contrast": contrast(*views, self.temperature, labels=y, chunk_size=self.chunk_size)}
