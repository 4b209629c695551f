"""Views of digits: what writing, print and colours change, and not which digit it is."""

import math

import keras
from keras import ops


class DigitViews(keras.layers.Layer):
    """Turns, scales, shears and shifts images, and changes strokes, colours and noise, for each by itself.

    Args:
        rotation: float, the largest angle in degrees, to either side.
        scale: float, the largest logarithm of the factor of size.
        shear: float, the largest shear.
        shift: float, the largest shift in pixels, along both axes.
        strokes: share of the images whose strokes become thicker or thinner; where `colours` change, softer or sharper.
        noise: float, the largest standard deviation of noise, in values from 0 to 255.
        cutout: share of the images of which a square of a third of the side is covered.
        colours: bool, whether half of the images are inverted, and each channel gets a gain of 0.5 to 1.5 and an offset
            of at most 80.
        **kwargs: `name`, `dtype`.
    """

    def __init__(self, rotation, scale, shear, shift, strokes=0.0, noise=0.0, cutout=0.0, colours=False, **kwargs):
        super().__init__(**kwargs)
        self.rotation, self.scale, self.shear, self.shift = math.radians(rotation), scale, shear, shift
        self.strokes, self.noise, self.cutout, self.colours = strokes, noise, cutout, colours
        self.draws = keras.random.SeedGenerator()
        self.built = True

    def call(self, images, training=True):
        """Returns views of images `(batch, height, width, channels)`, uint8 or float in 0-255, as floats in 0-255."""
        images = self.moved(ops.cast(images, "float32"))
        if self.strokes:
            images = self.restroked(images)
        if self.colours:
            images = self.recoloured(images)
        if self.cutout:
            images = self.covered(images)
        if self.noise:
            deviation = self.noise * self.uniform(images, 1, 1, 1, low=0.0)
            images += deviation * keras.random.normal(ops.shape(images), seed=self.draws)
        return ops.clip(images, 0.0, 255.0)

    def uniform(self, images, *shape, low=-1.0):
        """Returns numbers from `low` to 1, of a shape for each image."""
        return keras.random.uniform((ops.shape(images)[0], *shape), low, 1.0, seed=self.draws)

    def moved(self, images):
        """Returns the images under affine maps around their centres."""
        height, width = images.shape[1:3]
        angle, scale, shear, right, down = ops.unstack(self.uniform(images, 5), axis=1)
        angle, shear, scale = self.rotation * angle, self.shear * shear, ops.exp(self.scale * scale)
        a, b = ops.cos(angle) / scale, (shear * ops.cos(angle) - ops.sin(angle)) / scale
        c, d = ops.sin(angle) / scale, (shear * ops.sin(angle) + ops.cos(angle)) / scale
        x, y = (width - 1) / 2, (height - 1) / 2
        to_x, to_y = x - a * x - b * y + self.shift * right, y - c * x - d * y + self.shift * down
        zero = ops.zeros_like(a)
        maps = ops.stack([a, b, to_x, c, d, to_y, zero, zero], axis=1)
        return ops.image.affine_transform(images, maps, "bilinear", "nearest")

    def restroked(self, images):
        """Returns some of the images with thicker or thinner strokes, softer or sharper ones in colour."""
        if self.colours:
            soft = ops.average_pool(images, 3, 1, "same")
            more, less = soft, 2 * images - soft
        else:
            more, less = ops.max_pool(images, 3, 1, "same"), -ops.max_pool(-images, 3, 1, "same")
        chosen = self.uniform(images, 1, 1, 1, low=0.0) < self.strokes
        by = ops.where(chosen, self.uniform(images, 1, 1, 1), 0.0)
        return images + ops.relu(by) * (more - images) + ops.relu(-by) * (less - images)

    def recoloured(self, images):
        """Returns half of the images inverted, and all of them with another gain and offset of each channel."""
        images = ops.where(self.uniform(images, 1, 1, 1) > 0, 255.0 - images, images)
        gain, offset = (self.uniform(images, 1, 1, images.shape[-1]) for _ in range(2))
        return images * (1 + 0.5 * gain) + 80 * offset

    def covered(self, images):
        """Returns the images, in some of them a square of their mean value at a random place."""
        inside = 1.0
        for axis in (1, 2):
            side = images.shape[axis]
            centre = side * self.uniform(images, 1, 1, 1, low=0.0)
            places = ops.reshape(ops.arange(side, dtype="float32"), (1, side, 1, 1) if axis == 1 else (1, 1, side, 1))
            inside *= ops.cast(ops.abs(places - centre) < side / 6, "float32")
        inside *= ops.cast(self.uniform(images, 1, 1, 1, low=0.0) < self.cutout, "float32")
        return images + inside * (ops.mean(images, axis=(1, 2), keepdims=True) - images)


def weak(colours):
    """Returns the layer of views that change little."""
    return DigitViews(10, 0.12, 0.1, 1.5, colours=colours)


def strong(colours):
    """Returns the layer of views that change all that may differ between domains."""
    return DigitViews(20, 0.3, 0.25, 3, strokes=0.7, noise=20.0, cutout=0.4, colours=colours)
