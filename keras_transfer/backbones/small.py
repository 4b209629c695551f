"""Small untrained networks that need no download: for development, tests and own pretraining."""

import keras
from keras import layers, ops

from keras_transfer.backbones.features import masked_mean


def small_cnn(input_shape, dim=128, name="small_cnn"):
    """Makes a convolutional backbone: three blocks of Conv-BatchNorm-ReLU, each halving the size, and pooling.

    Args:
        input_shape: shape of an image, `(height, width, channels)`, at least 8 pixels high and wide.
        dim: number of features, at least 4; the blocks have `dim // 4`, `dim // 2` and `dim` filters.
        name: name of the model.

    Returns:
        `keras.Model` from images `(batch, *input_shape)`, uint8 or float, in 0-255, to features `(batch, dim)`.

    Example:

    ```python
    encoder = kt.backbones.small_cnn((28, 28, 1))
    ```
    """
    if len(input_shape) != 3:
        raise ValueError(f"Expected `input_shape` (height, width, channels); received {input_shape}.")
    if dim < 4:
        raise ValueError(f"Expected `dim` of at least 4; received {dim}.")
    images = keras.Input(input_shape, name="images")
    x = layers.Rescaling(1 / 255)(images)
    for block, filters in enumerate((dim // 4, dim // 2, dim), 1):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv_{block}")(x)
        x = layers.BatchNormalization(name=f"bn_{block}")(x)
        x = layers.ReLU(name=f"relu_{block}")(x)
    return keras.Model(images, layers.GlobalAveragePooling2D(name="features")(x), name=name)


def small_mlp(input_shape, dim=128, name="small_mlp"):
    """Makes a backbone of two dense layers with ReLU.

    Args:
        input_shape: shape of an image, `(height, width, channels)`, or of a vector, `(features,)`.
        dim: number of features, and of units of the hidden layer.
        name: name of the model.

    Returns:
        `keras.Model` to features `(batch, dim)`, from images `(batch, *input_shape)`, uint8 or float, in 0-255, or from
        vectors, which are taken as they are: standardise them first.

    Example:

    ```python
    encoder = kt.backbones.small_mlp((28, 28, 1))
    ```
    """
    if dim < 1:
        raise ValueError(f"Expected `dim` of at least 1; received {dim}.")
    inputs = x = keras.Input(input_shape, name="inputs")
    if len(input_shape) > 1:
        x = layers.Flatten()(layers.Rescaling(1 / 255)(x))
    x = layers.Dense(dim, activation="relu", name="dense_1")(x)
    return keras.Model(inputs, layers.Dense(dim, activation="relu", name="dense_2")(x), name=name)


def small_transformer(vocabulary_size, length, dim=128, name="small_transformer"):
    """Makes a text backbone: two pre-norm Transformer blocks with 4 heads, and the mean over the tokens.

    Args:
        vocabulary_size: number of tokens; ids are below it.
        length: longest sequence of tokens.
        dim: number of features, a multiple of 4.
        name: name of the model.

    Returns:
        `keras.Model` from token ids `(batch, length)`, int, 0 for padding, to features `(batch, dim)`. Padding changes
        nothing; a row of nothing else gives zeros.

    Example:

    ```python
    tokenize = keras.layers.TextVectorization(max_tokens=8000, output_sequence_length=64)
    encoder = kt.backbones.small_transformer(vocabulary_size=8000, length=64)
    ```
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"Expected `dim` to be a multiple of 4; received {dim}.")
    tokens = keras.Input((length,), dtype="int32", name="token_ids")
    mask = ops.not_equal(tokens, 0)
    positions = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(vocabulary_size, dim, name="tokens")(tokens)
    x = x + layers.Embedding(length, dim, name="positions")(positions)
    for block in (1, 2):
        y = layers.LayerNormalization(name=f"attention_norm_{block}")(x)
        attention = layers.MultiHeadAttention(4, dim // 4, name=f"attention_{block}")
        x = x + attention(y, y, attention_mask=ops.expand_dims(mask, 1))
        y = layers.LayerNormalization(name=f"mlp_norm_{block}")(x)
        y = layers.Dense(4 * dim, activation="gelu", name=f"mlp_in_{block}")(y)
        x = x + layers.Dense(dim, name=f"mlp_out_{block}")(y)
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(tokens, masked_mean(x, mask), name=name)
