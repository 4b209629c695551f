"""ADDA: an encoder of the target's own, trained until a discriminator takes its features for the source's."""

import keras
from keras import ops

from keras_transfer.batches import check_no_labels
from keras_transfer.checks import check_weight
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_one_logit, classify, domain_loss, source_networks
from keras_transfer.networks import check_logits, check_networks, copy_network, frozen, number_of_outputs


@keras.saving.register_keras_serializable(package="keras_transfer")
class ADDA(TransferModel):
    """Adapts a trained classifier to an unlabelled domain by a second encoder, which learns to fool a discriminator.

    domain = 1/2 (mean -log(1 - d(f_s)) + mean -log d(stop_gradient(f_t))),   f_s = source_encoder(x_source)
    fool   = mean -log(1 - d(f_t)),   f_t = encoder(x_target); d's weights count as constants
    total  = domain + fool_weight * fool

    `source_encoder` and `head` are what is known of the source: **they are frozen here, their `trainable` becomes
    False**. What is served is `head(encoder(x))`. Labels play no part: compile without a loss and train on the streams
    alone; to evaluate, compile again with one.

    Args:
        source_encoder: built and trained network from an input to features `(batch, dim)`.
        encoder: network of the same output, of the target; best a copy of it, as `from_source` makes.
        head: built and trained network from features to logits `(batch, classes)`.
        discriminator: built network from features to one logit `(batch, 1)`, without a sigmoid: source is 0.
        fool_weight: float or schedule, the weight of `fool`.

    Raises:
        ValueError: if a network is no Keras layer, encoders, head or discriminator are not built, head or discriminator
            end in a softmax or a sigmoid, or `fool_weight` is negative or no number.

    Example:

    ```python
    model = kt.models.ADDA.from_source(trained, discriminator)  # a method of this package
    model.compile(keras.optimizers.Adam(2e-4))
    model.fit(kt.streams.domains((x_source, y_source), x_target).map(lambda x, y: x), epochs=10)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Reference:
        Tzeng, Hoffman, Saenko and Darrell, Adversarial Discriminative Domain Adaptation, CVPR 2017, arXiv:1702.05464.
    """

    streams = ("source", "target")

    def __init__(self, source_encoder, encoder, head, discriminator, fool_weight=1.0, **kwargs):
        networks = {"source_encoder": source_encoder, "encoder": encoder, "head": head, "discriminator": discriminator}
        check_networks(**networks)
        check_logits(head, "head")
        check_logits(discriminator, "discriminator")
        fool_weight = check_weight(fool_weight, "fool_weight")
        super().__init__({"domain": 1.0, "fool": fool_weight}, **kwargs)
        for name, network in networks.items():
            if number_of_outputs(network) is None:
                raise ValueError(f"Expected `{name}` to be built; received {network.name!r}: begin with `keras.Input`.")
        self.source_encoder, self.encoder, self.head = source_encoder, encoder, head
        self.discriminator, self.fool_weight = discriminator, fool_weight
        source_encoder.trainable = head.trainable = False

    @classmethod
    def from_source(cls, model, discriminator, **kwargs):
        """Makes a method that goes on from another one, with copies of the networks that it serves.

        Args:
            model: trained method with an encoder and a head, such as `kt.models.TargetTerms(encoder, head)`.
            discriminator: new network, see the constructor.
            **kwargs: further arguments of the constructor.

        Raises:
            ValueError: if it serves no encoder or no head.
        """
        encoder, head = source_networks(model)
        return cls(copy_network(encoder), copy_network(encoder), copy_network(head), discriminator, **kwargs)

    def forward(self, x, training=False):
        """Returns the prediction of the target, features of both domains and what the discriminator says of them."""
        source = self.source_encoder(x["source"], training=False)
        target, prediction = classify(self.encoder, self.head, x["target"], training)

        def told(features):
            return check_one_logit(self.discriminator(features, training=training), self.discriminator)

        return {
            "prediction": prediction,
            "source": source,
            "target": target,
            "source_domain": told(source),
            "target_domain": told(ops.stop_gradient(target)),
            "fooled": frozen(self.discriminator, target, training=training),
        }

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `domain` and `fool`."""
        check_no_labels(self, y)
        fool = ops.mean(ops.softplus(ops.cast(outputs["fooled"], "float32")))
        return {"domain": domain_loss(outputs["source_domain"], outputs["target_domain"]), "fool": fool}
