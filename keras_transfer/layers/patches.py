"""Images as sequences of patches, and positions of tokens, for Vision Transformers."""

import keras
import numpy as np
from keras import ops

from keras_transfer.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_transfer")
class Patches(keras.layers.Layer):
    """Cuts images into square patches, row by row.

    Args:
        size: int, pixels of a side of a patch.
        **kwargs: `name`, `dtype`.

    Call arguments:
        images: tensor `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height * width / size^2, size^2 * channels)`.

    Raises:
        ValueError: if the size is no int of at least 1, or does not divide height and width.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = check_integer(size, "size")
        self.built = True

    def call(self, images):
        """Returns the patches of each image, row by row."""
        rows, columns = self._grid(images.shape)
        x = ops.reshape(images, (-1, rows, self.size, columns, self.size, images.shape[-1]))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, rows * columns, self.size**2 * images.shape[-1]))

    def join(self, patches, height, width):
        """Returns the images `(batch, height, width, channels)` that patches were cut from."""
        rows, columns = self._grid((None, height, width, None))
        x = ops.reshape(patches, (-1, rows, columns, self.size, self.size, patches.shape[-1] // self.size**2))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        """Returns the shape of the result."""
        rows, columns = self._grid(input_shape)
        return (input_shape[0], rows * columns, self.size**2 * input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "size": self.size}

    def _grid(self, shape):
        height, width = shape[1:3]
        if height % self.size or width % self.size:
            raise ValueError(
                f"Expected a patch size that divides the image's height and width; received {self.size} for images of "
                f"{height} x {width} pixels."
            )
        return height // self.size, width // self.size


@keras.saving.register_keras_serializable(package="keras_transfer")
class SinePositions(keras.layers.Layer):
    """Adds to each token its place in a grid, as fixed sines and cosines of its row and of its column.

    Args:
        rows: int, rows of the grid.
        columns: int, columns of the grid.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: tensor `(batch, rows * columns, dim)`, row by row; dim is a multiple of 4.

    Returns:
        Tensor of the same shape.

    Raises:
        ValueError: if `rows` or `columns` is no int of at least 1, or dim no multiple of 4.

    Reference:
        He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv:2111.06377, appendix A.1.
    """

    def __init__(self, rows, columns, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = check_integer(rows, "rows"), check_integer(columns, "columns")
        self.built = True

    def call(self, x):
        """Returns the tokens, each with its place added."""
        dim = x.shape[-1]
        if dim % 4:
            raise ValueError(f"Expected tokens of a `dim` that is a multiple of 4; received {dim}.")
        frequencies = 1.0 / 10000.0 ** (np.arange(dim // 4) / (dim / 4))
        grid = np.stack(np.meshgrid(np.arange(self.rows), np.arange(self.columns), indexing="ij"), -1).reshape(-1, 2)
        angles = grid[:, :, None] * frequencies  # (tokens, 2, dim / 4)
        table = np.concatenate([np.sin(angles), np.cos(angles)], -1).reshape(len(grid), dim)
        return x + ops.cast(table[None], x.dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the result."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}
