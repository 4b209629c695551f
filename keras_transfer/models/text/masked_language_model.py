"""Masked language modelling: an encoder that learns from texts by filling in tokens that are hidden from it."""

import keras
from keras import ops

from keras_transfer.model import PREDICTION, TransferModel
from keras_transfer.models.text.shared import embedding_of, token_loss, tokens_of
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class MaskedLanguageModel(TransferModel):
    """Learns an encoder from unlabelled texts: some tokens are hidden, and predicted from all others.

    masked = mean over hidden tokens t of  - log softmax(E norm(gelu(W h_t + c)) + b)[token t]

    h_t is the encoder's output in that place, E its own embedding of tokens; W, c, b and the norm train beside it. What
    is hidden is drawn anew in each epoch by `kt.streams.masked_text`, whose weights say which places count. What is
    served and exported is the encoder, from token ids to features.

    Args:
        encoder: network from token ids `(batch, length)`, 0 for padding, to features `(batch, dim)`, with the layer
            `tokens`, from ids to `(batch, length, dim)`, and in it the embedding `token_embedding`, such as
            `kt.backbones.small_transformer`, or `kt.backbones.minilm().get_layer("encoder")`.

    Raises:
        ValueError: if the encoder has no such layers; in training if a batch lacks token ids or weights.

    Example:

    ```python
    tokens = kt.layers.WordPiece("vocab.txt")
    model = kt.models.MaskedLanguageModel(kt.backbones.small_transformer(len(tokens.vocabulary), length=64))
    model.compile("adam", weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()])
    model.fit(kt.streams.masked_text(texts, tokens, length=64), epochs=10, shuffle=False)
    features = model.predict(tokens(texts))
    ```

    Perplexity is `exp(masked_term)`; `keras_hub.metrics.Perplexity(from_logits=True)` is a `weighted_metrics` too.

    Departs: there is no prediction of the next sentence, as in Liu et al., RoBERTa, arXiv:1907.11692.

    Reference:
        Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, NAACL 2019, arXiv:1810.04805.
    """

    streams = ("text",)

    def __init__(self, encoder, **kwargs):
        check_networks(encoder=encoder)
        super().__init__({"masked": 1.0}, **kwargs)
        self.encoder = encoder
        dim, embedding = tokens_of(encoder).output_shape[-1], embedding_of(encoder)
        if embedding.output_dim != dim:
            raise ValueError(f"Expected an embedding of the tokens' width {dim}; received {embedding.output_dim}.")
        self.transform = keras.layers.Dense(dim, activation="gelu", name="transform")
        self.transform.build((None, dim))
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.norm.build((None, dim))
        self.bias = self.add_weight(shape=(embedding.input_dim,), initializer="zeros", name="bias")

    def forward(self, x, training=False):
        """Returns the logits of the hidden tokens, `prediction` `(batch, hidden, vocabulary)`."""
        text = x["text"]
        tokens = tokens_of(self.encoder)(text["token_ids"], training=training)
        hidden = ops.take_along_axis(tokens, text["positions"][..., None], axis=1)
        hidden = self.norm(self.transform(hidden))
        table = ops.cast(embedding_of(self.encoder).embeddings, hidden.dtype)
        return {PREDICTION: ops.matmul(hidden, ops.transpose(table)) + ops.cast(self.bias, hidden.dtype)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `masked`."""
        return token_loss("masked", y, outputs[PREDICTION], sample_weight, outputs, self._replicas)
