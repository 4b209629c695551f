"""Small untrained networks that need no download: for development, tests and own pretraining."""

import math

import keras
from keras import layers, ops

from keras_transfer.backbones.features import masked_mean
from keras_transfer.layers.patches import Patches, SinePositions


def small_cnn(input_shape, dim=128, momentum=0.99, name="small_cnn"):
    """Makes a convolutional backbone: three blocks of Conv-BatchNorm-ReLU, each halving the size, and pooling.

    Args:
        input_shape: shape of an image, `(height, width, channels)`, at least 8 pixels high and wide.
        dim: number of features, at least 4; the blocks have `dim // 4`, `dim // 2` and `dim` filters.
        momentum: how much the averages of BatchNormalization keep at a step; 0.9 where it trains for a few hundred
            steps only, within which they have to follow.
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
        x = layers.BatchNormalization(momentum=momentum, name=f"bn_{block}")(x)
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


def small_vit(input_shape, patch_size=4, dim=128, blocks=4, heads=4, name="small_vit"):
    """Makes a Vision Transformer: linear patches with fixed positions, pre-norm blocks, and the mean over the tokens.

    Args:
        input_shape: shape of an image, `(height, width, channels)`.
        patch_size: pixels of a side of a patch; it divides height and width.
        dim: number of features and width of the tokens, a multiple of 4 and of `heads`.
        blocks: number of Transformer blocks.
        heads: heads of the attention.
        name: name of the model.

    Returns:
        `keras.Model` from images `(batch, *input_shape)`, uint8 or float, in 0-255, to features `(batch, dim)`. Its
        layer `patches` goes from images to tokens `(batch, tokens, dim)`, its layer `blocks` from any number of tokens
        to as many.

    Raises:
        ValueError: if the patch size does not divide the image, or `dim` is no such multiple.

    Reference:
        Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, arXiv:2010.11929.

    Example:

    ```python
    encoder = kt.backbones.small_vit((28, 28, 1), patch_size=4)
    ```
    """
    _check_width(dim, heads)
    images = keras.Input(input_shape, name="images")
    x = Patches(patch_size)(layers.Rescaling(1 / 255)(images))
    grid = input_shape[0] // patch_size, input_shape[1] // patch_size
    patches = keras.Model(images, SinePositions(*grid)(layers.Dense(dim)(x)), name="patches")
    tokens = _transformer(dim, blocks, heads)
    return keras.Model(images, layers.GlobalAveragePooling1D(name="features")(tokens(patches(images))), name=name)


def small_vit_decoder(encoder, dim=64, blocks=1, heads=4, name="small_vit_decoder"):
    """Makes the decoder that `kt.models.MAE` needs beside a `small_vit`.

    Args:
        encoder: network made by `small_vit`.
        dim: width of the tokens inside, a multiple of 4 and of `heads`.
        blocks: number of Transformer blocks.
        heads: heads of the attention.
        name: name of the model.

    Returns:
        `keras.Model` from tokens `(batch, tokens, encoder's dim)` to pixels `(batch, tokens, pixels of a patch)`.
    """
    _check_width(dim, heads)
    height, width, channels = encoder.input_shape[1:]
    number, encoded = encoder.get_layer("patches").output_shape[1:]
    size = math.isqrt(height * width // number)
    tokens = keras.Input((number, encoded), name="tokens")
    x = SinePositions(height // size, width // size)(layers.Dense(dim)(tokens))
    x = _transformer(dim, blocks, heads)(x)
    return keras.Model(tokens, layers.Dense(size * size * channels, name="pixels")(x), name=name)


def _check_width(dim, heads):
    if dim < 4 or dim % 4 or dim % heads:
        raise ValueError(f"Expected `dim` to be a multiple of 4 and of {heads} heads; received {dim}.")


def _transformer(dim, blocks, heads):
    """Makes pre-norm blocks and a norm, from tokens `(batch, any number, dim)` to as many."""
    x = tokens = keras.Input((None, dim), name="tokens")
    for block in range(1, blocks + 1):
        x = _block(x, dim, heads, block)
    return keras.Model(tokens, layers.LayerNormalization(name="norm")(x), name="blocks")


def _block(x, dim, heads, block, mask=None, dropout=0.0, causal=False):
    def dropped(y):
        return layers.Dropout(dropout)(y) if dropout else y

    y = layers.LayerNormalization(name=f"attention_norm_{block}")(x)
    attention = layers.MultiHeadAttention(heads, dim // heads, name=f"attention_{block}")
    x = x + dropped(attention(y, y, attention_mask=mask, use_causal_mask=causal))
    y = layers.LayerNormalization(name=f"mlp_norm_{block}")(x)
    y = layers.Dense(4 * dim, activation="gelu", name=f"mlp_in_{block}")(y)
    return x + dropped(layers.Dense(dim, name=f"mlp_out_{block}")(y))


def small_transformer(
    vocabulary_size, length, dim=128, blocks=2, heads=4, dropout=0.0, convolution=0, name="small_transformer"
):
    """Makes a text backbone: pre-norm Transformer blocks, and the mean over the tokens.

    Args:
        vocabulary_size: number of tokens; ids are below it.
        length: longest sequence of tokens.
        dim: number of features, a multiple of `heads`.
        blocks: number of Transformer blocks.
        heads: heads of the attention.
        dropout: float from 0 to 1, of each block's two parts, such as `kt.models.SimCSE` needs it.
        convolution: int, tokens that a depthwise convolution before each attention joins; 0 for none. With it a network
            that learns from texts alone knows in a few hundred steps what stands beside a token (So et al., Primer,
            NeurIPS 2021, arXiv:2109.08668).
        name: name of the model.

    Returns:
        `keras.Model` from token ids `(batch, up to length)`, int, 0 for padding, to features `(batch, dim)`. Padding
        changes nothing; a row of nothing else gives zeros. Its layer `tokens` goes from ids to `(batch, length, dim)`.

    Example:

    ```python
    tokenize = keras.layers.TextVectorization(max_tokens=8000, output_sequence_length=64)
    encoder = kt.backbones.small_transformer(vocabulary_size=8000, length=64)
    ```
    """
    _check_heads(dim, heads)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = ops.not_equal(ids, 0)
    x = _embedded(ids, vocabulary_size, length, dim)
    for block in range(1, blocks + 1):
        if convolution:
            there = ops.cast(ops.expand_dims(mask, -1), x.dtype)
            x = x + layers.DepthwiseConv1D(convolution, padding="same", name=f"beside_{block}")(x * there)
        x = _block(x, dim, heads, block, ops.expand_dims(mask, 1), dropout)
    tokens = keras.Model(ids, layers.LayerNormalization(name="norm")(x), name="tokens")
    return keras.Model(ids, masked_mean(tokens(ids), mask), name=name)


def small_text_decoder(vocabulary_size, length, dim=128, blocks=2, heads=4, name="small_text_decoder"):
    """Makes the decoder that `kt.models.DenoisingText` needs beside a `small_transformer`.

    Args:
        vocabulary_size: number of tokens that it writes.
        length: longest sequence of tokens.
        dim: width of its tokens and of those that it reads, a multiple of `heads`.
        blocks: number of Transformer blocks; each looks at what is written, then at what is read.
        heads: heads of the attention.
        name: name of the model.

    Returns:
        `keras.Model` from a dict of `token_ids` `(batch, written)`, `encoded` `(batch, read, dim)` and `encoded_mask`
        `(batch, read)` to logits `(batch, written, vocabulary_size)`; each place sees those before it and itself.
    """
    _check_heads(dim, heads)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    encoded = keras.Input((None, dim), name="encoded")
    encoded_mask = keras.Input((None,), dtype="bool", name="encoded_mask")
    x = _embedded(ids, vocabulary_size, length, dim)
    for block in range(1, blocks + 1):
        x = _block(x, dim, heads, block, causal=True)
        y = layers.LayerNormalization(name=f"reading_norm_{block}")(x)
        reading = layers.MultiHeadAttention(heads, dim // heads, name=f"reading_{block}")
        x = x + reading(y, encoded, attention_mask=ops.expand_dims(encoded_mask, 1))
    x = layers.LayerNormalization(name="norm")(x)
    inputs = {"token_ids": ids, "encoded": encoded, "encoded_mask": encoded_mask}
    return keras.Model(inputs, layers.Dense(vocabulary_size, name="logits")(x), name=name)


def _check_heads(dim, heads):
    if dim < heads or dim % heads:
        raise ValueError(f"Expected `dim` to be a multiple of {heads}; received {dim}.")


def _embedded(ids, vocabulary_size, length, dim):
    positions = ops.cumsum(ops.ones_like(ids), axis=1) - 1
    x = layers.Embedding(vocabulary_size, dim, name="token_embedding")(ids)
    return x + layers.Embedding(length, dim, name="positions")(positions)
