"""What semi-supervised methods share: one pass over labelled and unlabelled rows, what is logged, and a warning."""

import warnings

import keras
from keras import ops

from keras_transfer.checks import check_rows
from keras_transfer.keras_internals import all_layers
from keras_transfer.losses.checks import check_predictions
from keras_transfer.model import TransferModel
from keras_transfer.networks import all_rows, check_features, check_logits, check_networks

_REMEMBERED = 0.1  # the share of its first value above which a moving average has not arrived


class SemiSupervised(TransferModel):
    """A classifier that learns from labelled rows, and from its own or a teacher's predictions of unlabelled ones.

    Args:
        terms: see `TransferModel`.
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to logits `(batch, classes)`, at least two, not probabilities.
    """

    def __init__(self, terms, encoder, head, **kwargs):
        check_networks(encoder=encoder, head=head)
        check_logits(head, "head")
        super().__init__(terms, **kwargs)
        self.encoder, self.head = encoder, head

    def classify(self, *batches, training=False, networks=None):
        """Computes the logits of batches in one pass, so that BatchNormalization normalises them together.

        Args:
            *batches: inputs of one structure.
            training: bool, whether this is a training step.
            networks: pair of encoder and head; by default the model's own.

        Returns:
            The logits of each batch, a list.
        """
        encoder, head = networks or (self.encoder, self.head)
        for other in batches[1:]:
            check_rows(batches[0], other, ("labelled", "unlabelled"))
        counts = [ops.shape(keras.tree.flatten(batch)[0])[0] for batch in batches]
        x = keras.tree.map_structure(lambda *parts: ops.concatenate(parts), *batches)
        logits = head(check_features(encoder(x, training=training), encoder), training=training)
        check_predictions(logits)
        ends = [sum(counts[:i]) for i in range(len(counts) + 1)]
        return [logits[a:b] for a, b in zip(ends, ends[1:])]

    def log_pseudo_labels(self, labels, sure, classes):
        """Logs `share_sure`, and `pseudo_label_entropy`: how even the classes are among the sure rows, from 0 to 1.

        Args:
            labels: integer tensor `(batch,)`.
            sure: tensor `(batch,)`, 1.0 of rows that are learned from, else 0.0.
            classes: int.
        """
        labels, sure = all_rows(labels), all_rows(sure)
        shares = ops.sum(ops.one_hot(labels, classes, dtype="float32") * sure[:, None], axis=0)
        total = ops.sum(shares)
        shares = shares / ops.maximum(total, 1.0)
        entropy = -ops.sum(shares * ops.log(ops.maximum(shares, 1e-12))) / ops.log(float(classes))
        self.log("share_sure", ops.mean(sure))
        self.log("pseudo_label_entropy", ops.where(total > 0, entropy, 1.0))

    def log_agreement(self, first, second):
        """Logs `agreement`, the share of rows of which two predictions name one class.

        Args:
            first: logits or probabilities `(batch, classes)`.
            second: the same.
        """
        same = ops.equal(ops.argmax(first, axis=-1), ops.argmax(second, axis=-1))
        self.log("agreement", ops.mean(ops.cast(same, "float32")))

    def check_training_data(self, x=None, *_, epochs=1, steps_per_epoch=None, **__):
        """Warns of averages of BatchNormalization that cannot follow in as few steps as are asked for."""
        if steps_per_epoch is None and hasattr(x, "cardinality"):
            steps_per_epoch = int(x.cardinality())
        if steps_per_epoch is None or steps_per_epoch < 1:
            return
        steps = steps_per_epoch * epochs
        slow = {
            layer.momentum
            for network in (self.encoder, self.head)
            for layer in all_layers(network)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.momentum**steps > _REMEMBERED
        }
        if slow:
            warnings.warn(
                f"Expected BatchNormalization whose averages follow within {steps} steps; received a momentum of "
                f"{max(slow)}, which keeps {100 * max(slow) ** steps:.0f} % of where they began. Make the network "
                "with a smaller momentum, such as .9, or train longer.",
                stacklevel=4,
            )


def probabilities(logits):
    """Returns the softmax of logits, float32, without a gradient."""
    return ops.stop_gradient(ops.softmax(ops.cast(logits, "float32")))


def label_shares(y, classes):
    """Returns labels as shares of the classes `(batch, classes)`, float32.

    Args:
        y: class numbers `(batch,)` or `(batch, 1)`, or such shares already.
        classes: int.
    """
    if len(y.shape) == 2 and y.shape[-1] == classes:
        return ops.cast(y, "float32")
    return ops.one_hot(ops.reshape(ops.cast(y, "int32"), (-1,)), classes, dtype="float32")


def cross_entropy(labels, logits):
    """Returns the cross-entropy of each row `(batch,)` of integer labels and logits, float32."""
    return ops.sparse_categorical_crossentropy(labels, ops.cast(logits, "float32"), from_logits=True)
