"""Matching networks: a query takes the label of the examples that it resembles."""

import keras
from keras import ops

from keras_transfer.checks import check_flag
from keras_transfer.layers.prototypes import ABSENT, squared_distances
from keras_transfer.losses.checks import check_temperature
from keras_transfer.model import TransferModel
from keras_transfer.models.meta.shared import (
    as_it_is,
    check_episodes,
    check_no_classes,
    checked_labels,
    embedding_signatures,
    encode_episode,
    episode_of,
    episode_prediction,
    every_label,
)
from keras_transfer.networks import check_features, check_networks
from keras_transfer.signatures import Signature, classified


@keras.saving.register_keras_serializable(package="keras_transfer")
class MatchingNetwork(TransferModel):
    """Learns features in which each query is classified by attention over all support examples.

    a_i    = softmax_i(similarity(encoder(query), encoder(x_i)) / temperature)
    p_k    = sum of a_i over the support of class k,   logits = log p_k up to a constant
    task   = loss(y, logits)

    The similarity is minus the squared Euclidean distance, or the cosine. With a temperature near 0 this is the nearest
    neighbour. BatchNormalization and the shape of the prediction are as in `PrototypicalNetwork`.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        temperature: positive float that divides similarities. Cosines lie in [-1, 1] and need a small one, such as
            0.1: at 1, the paper's, no answer can be sure.
        cosine: bool, whether similarity is the cosine.

    Raises:
        ValueError: if the encoder is no network, the temperature not positive or `cosine` no bool.

    Example:

    ```python
    model = kt.models.MatchingNetwork(encoder)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.episodes(images, labels, ways=20, shots=1), epochs=50)
    ```

    Departs: no full context embeddings; the paper's similarity is the cosine at temperature 1, and reproductions reach
    its figures with Euclidean distance only.

    Reference:
        Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, arXiv:1606.04080.
    """

    streams = ("support", "query")

    def __init__(self, encoder, temperature=1.0, cosine=False, **kwargs):
        check_networks(encoder=encoder)
        super().__init__({"task": 1.0}, **kwargs)
        self.encoder, self.temperature = encoder, check_temperature(temperature)
        self.cosine = check_flag(cosine, "cosine")

    def infer(self, x, training=False):
        """Returns features `(batch, dim)`."""
        return check_features(self.encoder(x, training=training), self.encoder)

    def forward(self, x, training=False):
        """Returns the prediction `(episodes, queries, support rows)`."""
        support, labels, query = encode_episode(self.encoder, x, training, by_rows=True)
        return {"prediction": self._logits(support, labels, query, ops.shape(labels)[-1])}

    def _logits(self, support, labels, query, classes):
        """Log sum over each class of exp(similarity / temperature), `(..., queries, classes)`."""
        if self.cosine:
            support, query = (ops.normalize(ops.cast(x, "float32"), axis=-1) for x in (support, query))
            similarity = ops.matmul(query, ops.swapaxes(support, -1, -2))
        else:
            similarity = -squared_distances(query, support)
        similarity = ops.expand_dims(similarity / self.temperature, -2)  # (..., queries, 1, rows)
        numbers = ops.expand_dims(ops.arange(classes, dtype="int32"), -1)
        member = ops.equal(ops.expand_dims(ops.cast(labels, "int32"), (-2, -3)), numbers)  # (..., 1, classes, rows)
        return ops.maximum(ops.logsumexp(ops.where(member, similarity, ABSENT), axis=-1), ABSENT)

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with."""
        check_episodes(self, x, y)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`."""
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight)}

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `classify_episode`, for any way and shot, and `embed`, which is `serving_default` too."""
        check_no_classes(self, classes, outputs)
        (support, labels, query), prepare = episode_of(x), prepare or as_it_is

        def classify_episode(inputs):
            labels, number = every_label(checked_labels(inputs["support"], inputs["labels"])[0])
            rows, queries = (self.infer(prepare(inputs[name])) for name in ("support", "query"))
            return classified(self._logits(rows, labels, queries, number))

        def expected(inputs):
            logits = episode_prediction(self, prepare, inputs)
            return {"logits": logits[:, : int(ops.max(inputs["labels"])) + 1]}

        request = {"support": support, "labels": labels, "query": query}
        return {
            **embedding_signatures(self, x, prepare, input_name),
            "classify_episode": Signature(classify_episode, request, rowwise=False, expected=expected),
        }
