"""Random crops of other size and shape for each image, resized to one size."""

import math

import keras
from keras import ops

from keras_transfer.checks import check_integer, check_span


@keras.saving.register_keras_serializable(package="keras_transfer")
class RandomResizedCrop(keras.layers.Layer):
    """Cuts a random part out of each image and resizes it; every image of a batch gets a part of its own.

    `keras.layers.RandomCrop` cuts the whole batch at one place. Outside of training the whole image is resized.

    Resizing is bilinear, averages where the result is smaller, and takes two matrix products for a batch, one for each
    axis.

    Args:
        height: int, pixels of the result.
        width: int, pixels of the result.
        scale: pair of floats, the least and the largest share of the image's area.
        ratio: pair of positive floats, the least and the largest ratio of width to height; drawn so that a ratio and
            its inverse are as likely. A part that would be larger than the image is as large as the image.
        seed: int, or None to draw one.
        **kwargs: `name`, `dtype`.

    Call arguments:
        images: tensor `(batch, height, width, channels)`, uint8 or float of any range.
        training: bool, whether to cut; by default True, as in Keras's own augmentation.

    Returns:
        Tensor `(batch, height, width, channels)`, float.

    Raises:
        ValueError: if `height` or `width` is no int of at least 1, or `scale` or `ratio` is out of range.

    Reference:
        Szegedy et al., Going Deeper with Convolutions, CVPR 2015, arXiv:1409.4842, section 6.
    """

    def __init__(self, height, width, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), seed=None, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = check_integer(height, "height"), check_integer(width, "width")
        self.scale, self.ratio, self.seed = check_span(scale, "scale", most=1), check_span(ratio, "ratio"), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images, training=True):
        """Returns a part of each image, outside of training all of it, resized."""
        images, rows = ops.cast(images, self.compute_dtype), ops.shape(images)[0]
        tops = lefts = ops.zeros((rows,))  # shares of the image's height and width, in single precision
        heights = widths = ops.ones((rows,))
        if training:
            draws = keras.random.uniform((4, rows), dtype="float32", seed=self.seed_generator)
            areas = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[0]
            low, high = (math.log(value) for value in self.ratio)
            ratios = ops.exp(low + (high - low) * draws[1]) * (images.shape[1] / images.shape[2])
            heights, widths = ops.minimum(ops.sqrt(areas / ratios), 1.0), ops.minimum(ops.sqrt(areas * ratios), 1.0)
            tops, lefts = draws[2] * (1.0 - heights), draws[3] * (1.0 - widths)
        down = ops.cast(_resize(tops, heights, images.shape[1], self.height), images.dtype)
        across = ops.cast(_resize(lefts, widths, images.shape[2], self.width), images.dtype)
        return ops.einsum("npw,nowc->nopc", across, ops.einsum("noh,nhwc->nowc", down, images))

    def compute_output_shape(self, input_shape):
        """Returns the shape of the result."""
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        names = ("height", "width", "scale", "ratio", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _resize(starts, lengths, pixels, size):
    """Returns the matrices `(batch, size, pixels)` that resize a part of an axis, given in shares of its length."""
    centres = (ops.arange(size, dtype="float32") + 0.5) / size
    places = (starts[:, None] + lengths[:, None] * centres) * pixels - 0.5
    distances = ops.abs(places[..., None] - ops.arange(pixels, dtype="float32"))
    reach = ops.maximum(lengths * (pixels / size), 1.0)  # averages where the result is smaller
    shares = ops.maximum(1.0 - distances / reach[:, None, None], 0.0)
    return shares / ops.sum(shares, axis=-1, keepdims=True)
