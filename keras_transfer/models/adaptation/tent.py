"""TENT: a trained classifier whose BatchNormalization is set, without labels, so that it is sure on another domain."""

import keras
import numpy as np

from keras_transfer.checks import check_integer, check_number
from keras_transfer.finetuning.statistics import reestimate_batch_norm
from keras_transfer.keras_internals import all_layers, child_layers
from keras_transfer.losses.information import prediction_entropy
from keras_transfer.model import TransferModel
from keras_transfer.networks import all_rows, check_logits, copy_network


def tent(model, x, epochs=1, learning_rate=1e-3, batch_size=64, seed=0):
    """Returns a copy of a trained network of which BatchNormalization alone has learned, to be sure on the target.

    entropy = mean over rows of -sum_c p_c log p_c,   p = softmax(model(x)), normalised by the statistics of the batch

    Scales and offsets of BatchNormalization learn by the entropy, all else stays; at the end its moving statistics are
    those of the target, so that the copy answers row by row and can be exported. A few steps are what helps: the longer
    it goes on, the nearer it comes to one answer for everything. `kt.models.adabn` is the same without any step.

    Args:
        model: built and trained network with BatchNormalization, from inputs to logits `(batch, classes)`. It stays
            as it is.
        x: array `(rows, ...)` or a nested structure of arrays, inputs of the target.
        epochs: int, passes over x.
        learning_rate: float above 0, of Adam.
        batch_size: int, rows in a batch; what is left over is not used.
        seed: int, of the order of the rows.

    Returns:
        A `keras.Model` of the same kind, not compiled.

    Raises:
        ValueError: if the network is not built, has no BatchNormalization that learns and moves, or ends in a softmax
            or a sigmoid; if there are fewer rows than in a batch, or a number is out of range.

    Example:

    ```python
    adapted = kt.models.tent(classifier, x_target)
    kt.export(adapted, "saved_models/digits", x_test)
    ```

    Departs: offline, over the target data as they are now, since a served graph keeps no state; the paper adapts to
    each batch as it comes.

    Reference:
        Wang, Shelhamer, Liu, Olshausen and Darrell, Tent: Fully Test-Time Adaptation by Entropy Minimization, ICLR
        2021, arXiv:2006.10726.
    """
    check_integer(epochs, "epochs")
    check_integer(batch_size, "batch_size", 2)
    check_number(learning_rate, "learning_rate", above=0)
    check_logits(model, "model")
    rows = len(keras.tree.flatten(x)[0])
    if rows < batch_size:
        raise ValueError(f"Expected at least one batch of {batch_size} rows; received {rows}.")
    adapted = copy_network(model)
    trained = _only_batch_norm(adapted)
    learner = PredictionEntropy(adapted)
    learner.compile(keras.optimizers.Adam(learning_rate))
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(rows)[: rows // batch_size * batch_size]
        shuffled = keras.tree.map_structure(lambda part, order=order: np.asarray(part)[order], x)
        learner.fit({"target": shuffled}, batch_size=batch_size, shuffle=False, verbose=0)
    for layer, trainable in trained.items():
        layer.trainable = trainable
    reestimate_batch_norm(adapted, x, batch_size, seed)
    return adapted


def _only_batch_norm(model):
    """Freezes all layers but BatchNormalization that learns; returns what trained before, `{layer: bool}`."""
    leaves = {layer: layer.trainable for layer in all_layers(model) if not child_layers(layer)}
    norms = [one for one in leaves if isinstance(one, keras.layers.BatchNormalization) and one.trainable_weights]
    if not norms:
        raise ValueError(f"Expected BatchNormalization that learns in {model.name!r}; received none.")
    for layer in leaves:
        layer.trainable = layer in norms
    return leaves


class PredictionEntropy(TransferModel):
    """What trains: the entropy of a network's predictions."""

    streams = ("target",)

    def __init__(self, network, **kwargs):
        super().__init__({"entropy": 1.0}, **kwargs)
        self.network = network

    def forward(self, x, training=False):
        """Returns the prediction."""
        return {"prediction": self.network(x["target"], training=training)}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `entropy`."""
        return {"entropy": prediction_entropy(all_rows(outputs["prediction"]))}
