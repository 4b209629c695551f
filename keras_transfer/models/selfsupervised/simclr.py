"""SimCLR: features by which the two views of an image find each other among all views of a batch."""

import keras

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_integer
from keras_transfer.losses.checks import check_temperature
from keras_transfer.model import TransferModel
from keras_transfer.models.selfsupervised.shared import contrast, project_views
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class SimCLR(TransferModel):
    """Learns an encoder from unlabelled images: views of the same image attract, all other views repel each other.

    z        = projector(encoder(view)), rows scaled to length 1
    contrast = mean over the 2n views i of  log sum over j != i of exp(z_i . z_j / T)  -  z_i . z_other / T

    What is served and exported is the encoder; the projector is for training only. Both views go through the networks
    in one pass, so that BatchNormalization normalises them by shared statistics. Under several replicas the negatives
    are those of the global batch.

    Args:
        encoder: network from an image to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`, such as two Dense layers.
        temperature: positive float T.
        chunk_size: int, examples that go through the networks at once, for batches beyond memory: the gradient is that
            of the whole batch, the forward pass is computed twice. It divides the batch of a replica, and
            BatchNormalization normalises each chunk by its own statistics. None: all at once.

    Raises:
        ValueError: if a network is no Keras layer, or temperature or chunk size is not positive; in training if labels
            come with the views, the views differ in shape or have one row only, or the batch does not divide into
            chunks.

    Example:

    ```python
    model = kt.models.SimCLR(encoder, projector, temperature=0.2)
    model.compile("adam")
    augment = kt.layers.contrastive_views(image_size)  # colours change too; channels=1 for grey images
    model.fit(kt.streams.views(images, augment), epochs=20, shuffle=False)
    features = model.predict(images)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: with chunks, the forward pass that needs no gradient and the one that does are part of one graph, instead
    of the three phases of Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP
    2021, arXiv:2101.06983; the gradient is the same.

    Reference:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, arXiv:2002.05709.
    """

    streams = ("view_1", "view_2")

    def __init__(self, encoder, projector, temperature=0.2, chunk_size=None, **kwargs):
        check_networks(encoder=encoder, projector=projector)
        super().__init__({"contrast": 1.0}, **kwargs)
        self.encoder, self.projector = encoder, projector
        self.temperature = check_temperature(temperature)
        self.chunk_size = None if chunk_size is None else check_integer(chunk_size, "chunk_size")
        self.autocast = False  # chunks hand on weights in full precision

    def forward(self, x, training=False):
        """Returns the projections of both views."""
        return project_views(self.encoder, self.projector, x, training, self.chunk_size if training else None)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `contrast`."""
        check_no_labels(self, y)
        views = outputs["view_1"], outputs["view_2"]
        return {"contrast": contrast(*views, self.temperature, chunk_size=self.chunk_size)}
