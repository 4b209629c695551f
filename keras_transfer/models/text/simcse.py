"""SimCSE: sentence features by which a sentence finds itself under other dropout, or its pair, in a batch."""

import keras
from keras import ops

from keras_transfer.batches import check_no_labels
from keras_transfer.losses.checks import check_temperature
from keras_transfer.losses.contrastive import unit_rows
from keras_transfer.model import TransferModel
from keras_transfer.networks import all_rows, check_features, check_network, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class SimCSE(TransferModel):
    """Learns an encoder of sentences: each finds its pair among all of the batch.

    z        = projector(encoder(view)), rows scaled to length 1
    contrast = mean over i of  log sum over j of exp(z_i . z'_j / T)  -  z_i . z'_i / T

    Without labels a sentence is its own pair, and what differs is the dropout of the two passes: an encoder without any
    learns nothing. With them pairs are sentences that mean the same, or have the same class.
    `kt.streams.sentence_pairs` makes both. What is served and exported is the encoder; the projector is for training.

    Args:
        encoder: network from strings `(batch,)`, or token ids `(batch, length)`, to features `(batch, dim)`.
        projector: network from features to `(batch, projected)`, as the paper has it for pairs of the same sentence; or
            None, as for others.
        temperature: positive float T.

    Raises:
        ValueError: if a network is no Keras layer, or the temperature is not positive; in training if labels come with
            the pairs.

    Example:

    ```python
    model = kt.models.SimCSE(kt.backbones.minilm(sequence_length=32))
    model.compile(keras.optimizers.AdamW(3e-5))
    model.fit(kt.streams.sentence_pairs(texts, batch_size=64), epochs=1, shuffle=False)
    ```

    Reference:
        Gao et al., SimCSE: Simple Contrastive Learning of Sentence Embeddings, EMNLP 2021, arXiv:2104.08821.
    """

    streams = ("view_1", "view_2")

    def __init__(self, encoder, projector=None, temperature=0.05, **kwargs):
        check_networks(encoder=encoder)
        if projector is not None:
            check_network(projector, "projector")
        super().__init__({"contrast": 1.0}, **kwargs)
        self.encoder, self.projector = encoder, projector
        self.temperature = check_temperature(temperature)

    def forward(self, x, training=False):
        """Returns the projections of both views, each in a pass of its own: strings cannot be joined."""
        return {view: self._project(x[view], training) for view in ("view_1", "view_2")}

    def _project(self, view, training):
        features = check_features(self.encoder(view, training=training), self.encoder)
        return features if self.projector is None else self.projector(features, training=training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `contrast`."""
        check_no_labels(self, y)
        first, second = (unit_rows(all_rows(outputs[view])) for view in ("view_1", "view_2"))
        similarities = ops.matmul(first, ops.transpose(second)) / self.temperature
        return {
            "contrast": ops.mean(
                ops.logsumexp(similarities, axis=1) - ops.sum(first * second, axis=1) / self.temperature
            )
        }
