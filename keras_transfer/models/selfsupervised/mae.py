"""MAE: a Vision Transformer that sees a quarter of an image's patches, and learns by predicting the others."""

import math

import keras
from keras import ops

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_flag, check_number
from keras_transfer.layers.patches import Patches
from keras_transfer.model import TransferModel
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class MAE(TransferModel):
    """Learns an encoder from unlabelled images by predicting the patches that are hidden from it.

    reconstruction = mean over hidden patches of the mean squared error of their pixels

    The encoder computes the visible patches only, which makes training fast; the decoder gets them in their places,
    and the mask token, which is learned, in all others. What is served and exported is the encoder, which then sees
    whole images. Its features are made to be fine-tuned rather than probed.

    Args:
        encoder: network from images `(batch, height, width, channels)`, 0-255, to features `(batch, dim)`, with the
            layers `patches`, from images to tokens `(batch, tokens, dim)` with their positions, and `blocks`, from any
            number of tokens to as many, such as `kt.backbones.small_vit` makes.
        decoder: network from tokens `(batch, tokens, dim)` to pixels `(batch, tokens, patch height * patch width *
            channels)`, such as `kt.backbones.small_vit_decoder` makes.
        hidden: float between 0 and 1, the share of patches that are hidden.
        normalize: bool, whether each patch is to be predicted with mean 0 and variance 1; otherwise pixels in 0-1.

    Raises:
        ValueError: if a network is no Keras layer, the encoder has no such layers, or `hidden` leaves no patch to see
            or to predict.

    Example:

    ```python
    encoder = kt.backbones.small_vit((28, 28, 1), patch_size=4)
    model = kt.models.MAE(encoder, kt.backbones.small_vit_decoder(encoder))
    model.compile("adam")
    model.fit({"image": images}, epochs=20)
    kt.export(model, "saved_models/encoder", images)
    ```

    Departs: the mask token has the width of the encoder, and the decoder begins with its linear layer.

    Reference:
        He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv:2111.06377.
    """

    streams = ("image",)

    def __init__(self, encoder, decoder, hidden=0.75, normalize=True, **kwargs):
        check_networks(encoder=encoder, decoder=decoder)
        super().__init__({"reconstruction": 1.0}, **kwargs)
        names = [layer.name for layer in getattr(encoder, "layers", [])]
        if not encoder.built or not {"patches", "blocks"} <= set(names):
            raise ValueError(
                f"Expected a built encoder with the layers 'patches' and 'blocks', as `kt.backbones.small_vit` makes "
                f"it; received {encoder.name!r} with {names}."
            )
        hidden = check_number(hidden, "hidden", above=0, below=1)
        self.encoder, self.decoder, self.hidden = encoder, decoder, hidden
        self.normalize = check_flag(normalize, "normalize")
        tokens, dim = encoder.get_layer("patches").output_shape[1:]
        self.visible = round(tokens * (1.0 - hidden))
        if not 0 < self.visible < tokens:
            raise ValueError(
                f"Expected `hidden` to leave some of {tokens} patches visible and some hidden; received {hidden}."
            )
        self.cut = Patches(math.isqrt(decoder.output_shape[-1] // encoder.input_shape[-1]))
        self.mask_token = self.add_weight(
            shape=(dim,), initializer=keras.initializers.RandomNormal(stddev=0.02), name="mask_token"
        )
        self.seed_generator = keras.random.SeedGenerator()

    def forward(self, x, training=False):
        """Returns the `predicted` patches `(batch, tokens, pixels)` and which were `hidden` `(batch, tokens)`."""
        tokens = self.encoder.get_layer("patches")(x["image"], training=training)
        rows, number = ops.shape(tokens)[0], tokens.shape[1]
        order = ops.argsort(keras.random.uniform((rows, number), seed=self.seed_generator), axis=1)
        places = ops.argsort(order, axis=1)  # of each patch in that order; the first ones are seen
        seen = ops.take_along_axis(tokens, order[:, : self.visible, None], axis=1)
        encoded = self.encoder.get_layer("blocks")(seen, training=training)
        token = ops.cast(self.mask_token, encoded.dtype)
        filled = ops.broadcast_to(token, (rows, number - self.visible, encoded.shape[-1]))
        decoded = ops.take_along_axis(ops.concatenate([encoded, filled], axis=1), places[:, :, None], axis=1)
        return {"predicted": self.decoder(decoded, training=training), "hidden": places >= self.visible}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `reconstruction`."""
        check_no_labels(self, y)
        errors = ops.square(ops.cast(outputs["predicted"], "float32") - self.targets(x["image"]))
        hidden = ops.cast(outputs["hidden"], "float32")[..., None]
        return {"reconstruction": ops.mean(ops.sum(errors * hidden, axis=1)) / (hidden.shape[1] - self.visible)}

    def targets(self, images):
        """Returns the patches to predict, `(batch, tokens, pixels)`, float32."""
        patches = ops.cast(self.cut(ops.cast(images, "float32")), "float32") / 255.0
        if not self.normalize:
            return patches
        mean, variance = ops.moments(patches, axes=[-1], keepdims=True)
        return (patches - mean) * ops.rsqrt(variance + 1e-6)
