"""Denoising: an encoder that learns from texts by giving a decoder what it takes to put scrambled ones right."""

import keras
from keras import ops

from keras_transfer.model import PREDICTION, TransferModel
from keras_transfer.models.text.shared import token_loss, tokens_of
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class DenoisingText(TransferModel):
    """Learns an encoder from unlabelled texts: it reads a scrambled text, and a decoder writes the text as it was.

    denoised = mean over tokens t of the text of  - log softmax(decoder(text before t, encoder(scrambled)))[token t]

    `kt.streams.scrambled_text` deletes tokens, hides spans of them, and changes the order of tokens and of sentences.
    The same two networks learn a translation, where what is read and what is to be written are different texts. What
    is served and exported is the encoder, from token ids to features.

    Args:
        encoder: network from token ids `(batch, length)`, 0 for padding, to features `(batch, dim)`, with the layer
            `tokens`, from ids to `(batch, length, dim)`, such as `kt.backbones.small_transformer`.
        decoder: network from a dict of `token_ids` `(batch, written)`, the text up to each place, `encoded` `(batch,
            length, dim)` and `encoded_mask` `(batch, length)` to logits `(batch, written, vocabulary)`, such as
            `kt.backbones.small_text_decoder`.

    Raises:
        ValueError: if the encoder has no such layer; in training if a batch lacks token ids or weights.

    Example:

    ```python
    encoder = kt.backbones.small_transformer(len(tokens.vocabulary), length=64)
    model = kt.models.DenoisingText(encoder, kt.backbones.small_text_decoder(encoder))
    model.compile("adam", weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()])
    model.fit(kt.streams.scrambled_text(texts, tokens, length=64), epochs=10, shuffle=False)
    ```

    Reference:
        Lewis et al., BART: Denoising Sequence-to-Sequence Pre-training, ACL 2020, arXiv:1910.13461.
    """

    streams = ("text",)

    def __init__(self, encoder, decoder, **kwargs):
        check_networks(encoder=encoder, decoder=decoder)
        super().__init__({"denoised": 1.0}, **kwargs)
        tokens_of(encoder)
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x, training=False):
        """Returns the logits of each next token, `prediction` `(batch, written, vocabulary)`."""
        text = x["text"]
        encoded = tokens_of(self.encoder)(text["token_ids"], training=training)
        mask = ops.not_equal(text["token_ids"], 0)
        before = {"token_ids": text["before"], "encoded": encoded, "encoded_mask": mask}
        return {PREDICTION: self.decoder(before, training=training)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `denoised`."""
        return token_loss("denoised", y, outputs[PREDICTION], sample_weight, outputs, self._replicas)
