"""Random gamma and gain for each image: other tones, with black left black."""

import math

import keras
from keras import ops

from keras_transfer.checks import check_number, check_span, received


@keras.saving.register_keras_serializable(package="keras_transfer")
class RandomGamma(keras.layers.Layer):
    """Changes the tones of each image by a power and a factor of its own.

    output = gain * high * (image / high) ** gamma

    Keras's `RandomBrightness` and `RandomContrast` move the background of greyscale pictures with the object; this
    leaves black black and bends the tones between, so that an image is not known again by its shades. Outside of
    training images pass unchanged.

    Args:
        gamma: pair of positive floats, the least and the largest power; drawn so that a power and its inverse are as
            likely. Powers above 1 darken.
        gain: pair of positive floats, the least and the largest factor.
        value_range: pair `(0, high)` of the values of the images; values outside count as its ends.
        seed: int, or None to draw one.
        **kwargs: `name`, `dtype`.

    Call arguments:
        images: tensor `(batch, height, width, channels)`, uint8 or float.
        training: bool, whether to change; by default True, as in Keras's own augmentation.

    Returns:
        Tensor of the shape of `images`, float.

    Raises:
        ValueError: if `gamma`, `gain` or `value_range` is out of range.
    """

    def __init__(self, gamma=(1 / 3, 3.0), gain=(0.4, 1.0), value_range=(0, 255), seed=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(value_range, tuple | list) or len(value_range) != 2 or value_range[0] != 0:
            raise ValueError(f"Expected `value_range` to be a pair (0, high); received {received(value_range)}.")
        self.value_range = (0, check_number(value_range[1], "value_range", above=0))
        self.gamma, self.gain, self.seed = check_span(gamma, "gamma"), check_span(gain, "gain"), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images, training=True):
        """Returns the images, in training with other tones."""
        images = ops.cast(images, self.compute_dtype)
        if not training:
            return images
        draws = keras.random.uniform((2, ops.shape(images)[0], 1, 1, 1), dtype="float32", seed=self.seed_generator)
        low, high = (math.log(value) for value in self.gamma)
        powers = ops.cast(ops.exp(low + (high - low) * draws[0]), images.dtype)
        gains = ops.cast(self.gain[0] + (self.gain[1] - self.gain[0]) * draws[1], images.dtype)
        share = ops.clip(images / self.value_range[1], 0.0, 1.0)
        return gains * self.value_range[1] * ops.power(share, powers)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the result."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        names = ("gamma", "gain", "value_range", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
