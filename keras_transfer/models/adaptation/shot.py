"""SHOT: a trained classifier goes on with unlabelled data of another domain, without the data it was trained on."""

import keras
from keras import ops

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_number, check_weight
from keras_transfer.losses.contrastive import unit_rows
from keras_transfer.losses.information import negative_information
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import classify, source_networks
from keras_transfer.networks import (
    all_rows,
    check_logits,
    check_networks,
    copy_network,
    keep_finite,
    number_of_outputs,
)


@keras.saving.register_keras_serializable(package="keras_transfer")
class SHOT(TransferModel):
    """Adapts a trained classifier to an unlabelled domain without the source: its head stays, its encoder moves.

    information = mean entropy of p - entropy of mean p,   p = softmax(head(f)),  f = encoder(x_target)
    pseudo      = mean -log p[argmax_c cos(f, m_c)],   m_c: mean of f / |f| weighed by p_c, over the last batches
    total       = information + pseudo_weight * pseudo

    The head's hyperplanes are what is kept of the source: **it is frozen here, its `trainable` becomes False**. Batches
    hold all classes about equally, or `information` misleads. Labels play no part: compile without a loss and train on
    `{"target": x}`; to evaluate, compile again with one.

    Args:
        encoder: built and trained network from an input to features `(batch, dim)`.
        head: built and trained network from features to logits `(batch, classes)`, not probabilities.
        pseudo_weight: float or schedule, the weight of `pseudo`.
        momentum: float from 0 to 1, what the class means keep of earlier batches.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, or a number is
            out of range.

    Example:

    ```python
    model = kt.models.SHOT.from_source(trained)  # a method of this package; or SHOT(encoder, head)
    model.compile(keras.optimizers.Adam(1e-3))
    model.fit({"target": x_target}, batch_size=64, epochs=10)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: the class means are running ones, where the paper computes them of all data once in each epoch, and their
    pseudo-labels a second time.

    Reference:
        Liang, Hu and Feng, Do We Really Need to Access the Source Data? Source Hypothesis Transfer for Unsupervised
        Domain Adaptation, ICML 2020, arXiv:2002.08546.
    """

    streams = ("target",)

    def __init__(self, encoder, head, pseudo_weight=0.3, momentum=0.9, **kwargs):
        check_networks(encoder=encoder, head=head)
        check_logits(head, "head")
        pseudo_weight = check_weight(pseudo_weight, "pseudo_weight")
        super().__init__({"information": 1.0, "pseudo": pseudo_weight}, **kwargs)
        shape = number_of_outputs(head), number_of_outputs(encoder)
        if None in shape:
            raise ValueError(f"Expected built networks, trained on the source; received {encoder.name}, {head.name}.")
        self.encoder, self.head, self.pseudo_weight = encoder, head, pseudo_weight
        self.momentum = check_number(momentum, "momentum", least=0, most=1)
        head.trainable = False
        self.class_means = self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype="float32",
            autocast=False,  # as float16 the means of many batches would not move
            trainable=False,
            aggregation="only_first_replica",
            name="class_means",
        )

    @classmethod
    def from_source(cls, model, **kwargs):
        """Makes a method that goes on from another one, with copies of the networks that it serves.

        Args:
            model: trained method with an encoder and a head, such as `kt.models.TargetTerms(encoder, head)`.
            **kwargs: further arguments of the constructor.

        Raises:
            ValueError: if it serves no encoder or no head.
        """
        return cls(*map(copy_network, source_networks(model)), **kwargs)

    def forward(self, x, training=False):
        """Returns the prediction, the pseudo-labels and the class means that give them."""
        features, prediction = classify(self.encoder, self.head, x["target"], training)
        rows = ops.stop_gradient(unit_rows(features))
        p = ops.stop_gradient(ops.softmax(ops.cast(prediction, "float32")))
        every = all_rows(p)
        of_batch = ops.matmul(ops.transpose(every), all_rows(rows)) / ops.cast(ops.shape(every)[0], "float32")
        means = self.momentum * self.class_means + (1.0 - self.momentum) * of_batch
        pseudo = ops.argmax(ops.matmul(rows, ops.transpose(unit_rows(means))), axis=-1)
        return {"prediction": prediction, "pseudo": pseudo, "means": means}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `information` and `pseudo`."""
        check_no_labels(self, y)
        logits = ops.cast(outputs["prediction"], "float32")
        pseudo = ops.sparse_categorical_crossentropy(outputs["pseudo"], logits, from_logits=True)
        return {"information": negative_information(all_rows(logits)), "pseudo": ops.mean(pseudo)}

    def advance(self, outputs):
        """Moves the class means."""
        keep_finite(self.class_means, outputs["means"])
