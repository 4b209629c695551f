"""Inpainting: a convolutional encoder that learns by predicting a part of the image that is cut out."""

import keras
from keras import ops

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_number
from keras_transfer.model import TransferModel
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class Inpainting(TransferModel):
    """Learns an encoder from unlabelled images by predicting a rectangle that is hidden from it.

    reconstruction = mean squared error of decoder(encoder(image with a hole)) inside of the hole

    The hole lies elsewhere in each image, and is filled with the image's mean. What is served and exported is the
    encoder.

    Args:
        encoder: network from images `(batch, height, width, channels)`, 0-255, to features `(batch, dim)`.
        decoder: network from features to images `(batch, height, width, channels)`, pixels in 0-1.
        hidden: float between 0 and 1, the share of the image's area that is cut out.

    Raises:
        ValueError: if a network is no Keras layer or `hidden` is out of range; in training if labels come
            with the images or the decoder returns another shape.

    Example:

    ```python
    model = kt.models.Inpainting(encoder, decoder)
    model.compile("adam")
    model.fit({"image": images}, epochs=20)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: the squared error alone, without the paper's adversarial loss.

    Reference:
        Pathak et al., Context Encoders: Feature Learning by Inpainting, CVPR 2016, arXiv:1604.07379.
    """

    streams = ("image",)

    def __init__(self, encoder, decoder, hidden=0.25, **kwargs):
        check_networks(encoder=encoder, decoder=decoder)
        super().__init__({"reconstruction": 1.0}, **kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.hidden = check_number(hidden, "hidden", above=0, below=1)
        self.seed_generator = keras.random.SeedGenerator()

    def forward(self, x, training=False):
        """Returns the `predicted` images and the `hole` `(batch, height, width, 1)`, 1 where pixels were hidden."""
        images = ops.cast(x["image"], "float32")
        if len(images.shape) != 4:
            raise ValueError(
                f"Expected `image` of shape (batch, height, width, channels); received shape {tuple(images.shape)}."
            )
        (rows, *_), (height, width) = ops.shape(images), images.shape[1:3]
        corner = keras.random.uniform((2, rows), seed=self.seed_generator)
        down = _inside(corner[0], height, self.hidden**0.5)
        across = _inside(corner[1], width, self.hidden**0.5)
        hole = down[:, :, None, None] * across[:, None, :, None]
        mean = ops.mean(images, axis=(1, 2), keepdims=True)
        features = self.encoder(images * (1.0 - hole) + mean * hole, training=training)
        predicted = self.decoder(features, training=training)
        if tuple(predicted.shape[1:]) != tuple(images.shape[1:]):
            raise ValueError(
                f"Expected the decoder to return images of shape {tuple(images.shape[1:])}; received shape "
                f"{tuple(predicted.shape[1:])}."
            )
        return {"predicted": predicted, "hole": hole}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `reconstruction`."""
        check_no_labels(self, y)
        errors = ops.square(ops.cast(outputs["predicted"], "float32") - ops.cast(x["image"], "float32") / 255.0)
        channels = errors.shape[-1]
        return {"reconstruction": ops.sum(errors * outputs["hole"]) / (ops.sum(outputs["hole"]) * channels)}


def _inside(starts, pixels, share):
    """Which pixels `(rows, pixels)` of an axis a stretch covers that starts at a share of what is left of the axis."""
    length = min(max(round(share * pixels), 1), pixels - 1)
    first = ops.floor(starts[:, None] * (pixels - length + 1))
    places = ops.arange(pixels, dtype="float32")
    return ops.cast(ops.logical_and(places >= first, places < first + length), "float32")
