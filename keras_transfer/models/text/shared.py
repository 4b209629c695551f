"""What methods on text share: the tokens inside an encoder, and the mean loss over the tokens that count."""

import keras
from keras import ops

from keras_transfer.keras_internals import all_layers
from keras_transfer.model import COUNTS
from keras_transfer.networks import all_rows


def tokens_of(encoder):
    """Returns the layer from token ids `(batch, length)` to `(batch, length, dim)` inside an encoder.

    Raises:
        ValueError: if the encoder is not built, or has no layer `tokens` of that shape.
    """
    layers = {layer.name: layer for layer in getattr(encoder, "layers", ())}
    shape = getattr(layers.get("tokens"), "output_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ValueError(
            "Expected a built encoder with the layer 'tokens', from token ids to (batch, length, dim), as "
            f"`kt.backbones.small_transformer` and `kt.backbones.minilm().get_layer('encoder')` have it; received "
            f"{encoder.name!r} with {sorted(layers)}."
        )
    return layers["tokens"]


def embedding_of(encoder):
    """Returns the layer `token_embedding` of an encoder, whose weights `embeddings` are `(vocabulary, dim)`.

    Raises:
        ValueError: if there is none.
    """
    for layer in all_layers(encoder):
        if layer.name == "token_embedding" and isinstance(layer, keras.layers.Embedding):
            return layer
    raise ValueError(f"Expected an encoder with the embedding 'token_embedding'; received {encoder.name!r} without.")


def token_loss(name, y, logits, sample_weight, outputs, replicas):
    """Returns the mean cross-entropy over the tokens that count, and counts these in `outputs`.

    Args:
        name: str, the term.
        y: integer tensor `(batch, tokens)`.
        logits: tensor `(batch, tokens, vocabulary)`.
        sample_weight: tensor `(batch, tokens)`, 0 where a token does not count.
        outputs: dict of the outputs of the method.
        replicas: int, the number of replicas.

    Raises:
        ValueError: if labels or weights are missing.
    """
    if y is None or sample_weight is None:
        raise ValueError(
            "Expected batches (x, token ids, weights), as `kt.streams.masked_text` and `scrambled_text` make them; "
            f"received no {'token ids' if y is None else 'weights'}."
        )
    weights = ops.cast(sample_weight, "float32")
    errors = keras.losses.sparse_categorical_crossentropy(y, ops.cast(logits, "float32"), from_logits=True)
    count = ops.sum(all_rows(ops.sum(weights)[None])) / replicas
    outputs[COUNTS] = {name: count}
    return {name: ops.divide_no_nan(ops.sum(errors * weights), count)}
