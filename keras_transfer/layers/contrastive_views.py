"""The augmentation of contrastive learning: another crop, mirrored or not, in other colours or none, for each image."""

import keras
import numpy as np
from keras import layers, ops

from keras_transfer.checks import check_flag, check_integer, check_number, check_span, received
from keras_transfer.layers.random_gamma import RandomGamma
from keras_transfer.layers.random_resized_crop import RandomResizedCrop

VALUES = (0, 255)


def contrastive_views(image_size, channels=3, scale=(0.2, 1.0), flip=True, strength=0.5, seed=None):
    """Makes the augmentation by which two views of an image are told from those of others by what they show.

    A random part of the image, resized; mirrored in half of the cases; and other tones. In colour these are those of
    SimCLR: 8 of 10 images get another brightness, contrast, saturation and hue, and 2 of 10 are grey. Without them two
    parts of an image are known again by their colours alone, and an encoder need not learn more. Grey images get
    another gamma and gain (`kt.layers.RandomGamma`), which leave black as it is.

    Every image of a batch gets draws of its own. Outside of training the whole image is resized.

    Args:
        image_size: int, the side of the views in pixels, or a pair (height, width); that of the images may be another.
        channels: 3 for RGB, 1 for grey.
        scale: pair of floats, the least and the largest share of the image's area that a part has.
        flip: bool, whether to mirror: not where left and right say something, as in letters.
        strength: float from 0 to 1, how much colours change; the paper's is 1 for ImageNet and 0.5 for CIFAR-10.
            Brightness changes by at most 0.8 * `strength` of white, contrast and saturation by that share of
            themselves, hue by `strength` / 5 of the circle of colours. In grey images, gamma is at most
            25 ** `strength` and at least its inverse, gain from 16 ** -`strength` to 1.
        seed: int, or None to draw one.

    Returns:
        A `keras.Sequential` from images `(batch, height, width, channels)`, uint8 or float in 0-255, to views of the
        size asked for, float in 0-255.

    Raises:
        ValueError: if `image_size` is none, `channels` is not 1 or 3, or another argument is out of range.

    Example:

    ```python
    augment = kt.layers.contrastive_views(64)
    model.fit(kt.streams.views(photos, augment), epochs=100, shuffle=False)
    ```

    Reference:
        Chen, Kornblith, Norouzi, Hinton, A Simple Framework for Contrastive Learning of Visual Representations,
        ICML 2020, arXiv:2002.05709, appendices A and B.9.

    Departs: brightness, contrast, saturation and hue change in this order, not in one that is drawn; no blur, which the
    paper leaves out for small images.
    """
    size = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(size) != 2:
        raise ValueError(f"Expected `image_size` to be a side or a pair (height, width); received {image_size!r}.")
    height, width = (check_integer(side, "image_size") for side in size)
    if channels not in (1, 3):
        raise ValueError(f"Expected `channels` to be 1, grey, or 3, RGB; received {received(channels)}.")
    strength = check_number(strength, "strength", least=0, most=1)
    # One seed for all layers would have them draw the same numbers: what is mirrored would be grey.
    seeds = [None] * 5 if seed is None else np.random.default_rng(seed).integers(2**31, size=5).tolist()
    crop, mirror, *tones = seeds
    change = [RandomResizedCrop(height, width, check_span(scale, "scale", most=1), seed=crop)]
    if check_flag(flip, "flip"):
        change.append(layers.RandomFlip("horizontal", seed=mirror))
    if strength > 0:
        change += _grey_tones(strength, *tones) if channels == 1 else _colours(strength, *tones)
    return keras.Sequential(change, name="contrastive_views")


def _colours(strength, jitter, sometimes, grey):
    most = 0.8 * strength
    low, high = (factor / (1 + factor) for factor in (1 - most, 1 + most))  # Keras's measure of saturation
    # Pairs, since Keras takes a single number for contrast to mean more contrast, never less.
    change = layers.RandomColorJitter(VALUES, (-most, most), (most, most), (low, high), (0.0, 0.4 * strength), jitter)
    # RandomGrayscale's own share would do, but for its seed, which Keras does not save.
    return [RandomApply(change, 0.8, sometimes), RandomApply(layers.RandomGrayscale(1.0), 0.2, grey)]


def _grey_tones(strength, gamma, *_):
    return [RandomGamma((25**-strength, 25**strength), (16**-strength, 1.0), VALUES, gamma)]


@keras.saving.register_keras_serializable(package="keras_transfer")
class RandomApply(keras.layers.Layer):
    """Applies a layer to some images of a batch, drawn for each by itself, and leaves the others as they are.

    Args:
        layer: layer from images `(batch, height, width, channels)` to others of the same shape.
        rate: float from 0 to 1, the share of the images that it is applied to.
        seed: int, or None to draw one.
        **kwargs: `name`, `dtype`.
    """

    def __init__(self, layer, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.rate, self.seed = layer, check_number(rate, "rate", least=0, most=1), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images, training=True):
        """Returns the images, in training some of them changed."""
        images = ops.cast(images, self.compute_dtype)
        if not training:
            return images
        draws = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), dtype="float32", seed=self.seed_generator)
        return ops.where(draws < self.rate, self.layer(images, training=True), images)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the result."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "rate": self.rate, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        """Makes the layer that a config describes."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})
